"""Files that are about all pictures of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from organoseg.inference.part import Part


def write_json(path: Path, parts: Iterable[Part], classes: Mapping[int, str]) -> None:
    """Write every mask of the run as one COCO file, a picture at a time, atomically."""
    raise NotImplementedError


def write_csv(path: Path, parts: Iterable[Part]) -> None:
    """Write the measurements of every organoid of the run, atomically."""
    raise NotImplementedError


def write_errors(path: Path, failures: Iterable[tuple[str, str]]) -> None:
    """Write (file, reason) of every file that failed, atomically."""
    raise NotImplementedError


def write_report(
    path: Path,
    parts: Iterable[Part],
    run: Mapping[str, Any],
    failures: Sequence[tuple[str, str]],
    extra_sections: Sequence[str] = (),
) -> None:
    """Write the run's page for people, one file that needs no network, atomically."""
    raise NotImplementedError
