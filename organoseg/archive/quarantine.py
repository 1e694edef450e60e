"""The list of chunks that training leaves out: ``quarantine.csv`` beside the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from organoseg.archive.home import kept_name
from organoseg.archive.manifest import Lost
from organoseg.archive.manifest_of import QUARANTINE, read_quarantine
from organoseg.core.files import write_bytes

HEADER = ("store", "array", "chunk", "reason")


def quarantine_file(catalogue: Path) -> Path:
    """Where the quarantine of a catalogue lies."""
    return catalogue.parent / QUARANTINE


def write_quarantine(path: Path, lost: Iterable[Lost], checked: Iterable[str]) -> int:
    """Replace what is known of the stores ``checked`` by ``lost``, keep the rest; returns the number of rows.

    DataError when the file there is no quarantine, RunError when it cannot be written.
    """
    import csv
    import io

    stores = set(checked)
    rest = {entry for entry in read_quarantine(path) if entry.url not in stores} | set(lost)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(HEADER)
    # As they are, not guarded against spreadsheets: the sampler compares these paths.
    rows = sorted((kept_name(e.url, path.parent), e.path, e.chunk, e.reason) for e in rest)
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode("utf-8", errors="surrogateescape"))
    return len(rows)
