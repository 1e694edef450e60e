"""Files of a whole run for programs: every mask, every measurement, every failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from organoseg.inference.part import PLACES, Part, place_of
from organoseg.io import COLUMNS, write_instances, write_table

TABLE = (COLUMNS[0], *PLACES, *COLUMNS[1:])
ERRORS = ("file", "reason")


def write_json(path: Path, parts: Iterable[Part], classes: Mapping[int, str]) -> None:
    """Write every mask of the run as one COCO file, a picture at a time, atomically; see ``io.write_instances``.

    DataError on a key given twice or a class without a name; RunError when the disk does not take it.
    """
    write_instances(path, ((part.key, part.instances()) for part in parts), classes)


def write_csv(path: Path, parts: Iterable[Part]) -> None:
    """Write a row for each organoid of the run with the columns TABLE, a picture at a time, atomically.

    Cells that a spreadsheet would run as a formula are made harmless. RunError when the disk does not take it.
    """
    write_table(path, TABLE, _rows(parts))


def _rows(parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
    for part in parts:
        place = place_of(part.facts["fields"])
        for row in part.facts["rows"]:
            yield {**row, **place}


def write_errors(path: Path, failures: Iterable[tuple[str, str]]) -> None:
    """Write a row (file, reason) for each file that failed, atomically; RunError when the disk does not take it."""
    write_table(path, ERRORS, (dict(zip(ERRORS, failure, strict=True)) for failure in failures))
