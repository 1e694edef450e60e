"""What a writer of one picture's files is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from organoseg.inference.result import Result


class Writer(Protocol):
    """Writes one kind of file for each picture."""

    @property
    def name(self) -> str:
        """What ``--write`` calls it."""

    def path(self, out: Path, key: str) -> Path:
        """The file (or folder) of the picture ``key`` in the folder of results."""

    def write(self, path: Path, result: Result) -> None:
        """Write it there; under its name it appears only when it is whole.

        DataError where the format cannot hold the picture, RunError where the disk does not take it.
        """


@dataclass(frozen=True)
class FileWriter:
    """A writer made of a function: ``out/name/KEY + suffix``."""

    name: str
    suffix: str
    writes: Callable[[Path, Result], None]

    def path(self, out: Path, key: str) -> Path:
        """See `Writer`."""
        return out / self.name / f"{key}{self.suffix}"

    def write(self, path: Path, result: Result) -> None:
        """See `Writer`."""
        self.writes(path, result)
