"""report.html of a run: see `write_report`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from organoseg.inference.part import Part


def write_report(
    path: Path,
    parts: Iterable[Part],
    run: Mapping[str, Any],
    failures: Sequence[tuple[str, str]],
    extra_sections: Sequence[str] = (),
) -> None:
    """Write the run's page for people, one file that needs no network, atomically."""
    raise NotImplementedError
