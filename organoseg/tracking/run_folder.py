"""What a finished run of `predict` has for tracking: its pictures and their organoids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from organoseg.core import DataError, Instances
from organoseg.io import read_instances


@dataclass(frozen=True)
class Picture:
    """A segmented picture: its key in the run, the file of its organoids, and what is known of its place."""

    key: str
    part: Path
    fields: Mapping[str, str] = field(default_factory=dict)
    pixel_size: tuple[float, float] | None = None

    def organoids(self) -> Instances:
        """Its organoids, with the numbers of the run's table. DataError when they cannot be read."""
        found = read_instances(self.part)
        if self.key not in found:
            raise DataError("The file does not hold the picture it is named after", where=self.part)
        return found[self.key]


def pictures_of(out: Path) -> tuple[Picture, ...]:
    """The pictures of a run folder, sorted by key. DataError when it is none."""
    parts = out / "parts"
    found = sorted(parts.rglob("*.json")) if parts.is_dir() else []
    if not found:
        raise DataError(
            "this folder holds no results",
            where=out,
            remedy="Give the folder that `organoseg predict --out` wrote.",
        )
    return tuple(
        Picture(path.relative_to(parts).as_posix().removesuffix(".json"), path) for path in found
    )
