"""Boxes in: the JSON of napari-organoid-counter, one file an image."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, RootModel

from organoseg.core.files import read_json
from organoseg.io.drawn import Box, Drawn, Sheet
from organoseg.io.parsing import parse


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    x1: float
    y1: float
    x2: float
    y2: float


class BoxFile(RootModel[dict[str, _Entry]]):
    """Boxes by number. Its x counts rows: the plugin gives (x, y) to napari, which takes them as (row, column)."""


def read_boxes(path: Path) -> Sheet:
    """The boxes of one image; DataError when the file is something else."""
    entries = parse(BoxFile, read_json(path), path, "organoid counter").root
    return Sheet(
        tuple(
            Drawn(f"box {name}", Box(entry.x1, entry.y1, entry.x2, entry.y2))
            for name, entry in entries.items()
        )
    )
