"""CSV tables out: written row by row, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from organoseg.core import DataError, atomic_write
from organoseg.io.measurements import COLUMNS

#: A cell that begins so is run as a formula by one spreadsheet or another.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def write_table(
    path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Write rows as CSV (RFC 4180, UTF-8) with these columns, a row at a time, atomically.

    None and absent values become empty cells, floats have six digits. Text that a spreadsheet would run as a formula
    gets a leading apostrophe. DataError on a key that is no column; RunError when the disk does not take it.
    """
    with atomic_write(path) as handle:
        # Bytes of file names that are no text are written as backslash codes, as everywhere.
        text = io.TextIOWrapper(handle, "utf-8", errors="backslashreplace", newline="")
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(columns)
        known = set(columns)
        for row in rows:
            if not known.issuperset(row):
                unknown = ", ".join(sorted(set(row) - known))
                raise DataError(f"Measurements have no column {unknown}", where=path)
            writer.writerow([cell(row.get(column)) for column in columns])
        text.flush()
        text.detach()


def write_measurements(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of `measure` with the columns COLUMNS; see `write_table`."""
    write_table(path, COLUMNS, rows)


def cell(value: Any) -> str:
    """A value as the text of a cell; see `write_table`."""
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return str(value)
