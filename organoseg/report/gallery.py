"""A grid of pictures: image, labels, and what each method found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances
from organoseg.report.overlay import Rgb, grey, overlay
from organoseg.report.verdict import FOUND, INVENTED, MISSED, judge

_GAP, _LINE, _MARGIN = 10, 22, 16
_INK, _PAPER, _FAINT = (30, 34, 40), (255, 255, 255), (95, 102, 112)


@dataclass(frozen=True, eq=False)
class Found:
    """What a method found in one image; predictions under `score` are left out."""

    instances: Instances
    score: float


@dataclass(frozen=True, eq=False)
class GalleryRow:
    """One image of the gallery.

    name: file name; pixels: (H, W); truth: its labels; found: by the method's label, in the
    order of the columns.
    """

    name: str
    pixels: NDArray[Any]
    truth: Instances
    found: Mapping[str, Found]


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture (h, w, 3) with the words under it."""

    picture: Rgb
    caption: str


def panels(row: GalleryRow, zoom: int = 1) -> list[Panel]:
    """The pictures of one row: the image, its labels, each method's outlines by verdict.

    Each picture is uint8 (H * zoom, W * zoom, 3).
    """
    plain = grey(row.pixels).repeat(zoom, axis=0).repeat(zoom, axis=1)
    labelled = overlay(row.pixels, row.truth, zoom=zoom)
    made = [Panel(plain, row.name), Panel(labelled, f"{len(row.truth)} organoids")]
    for found in row.found.values():
        verdict = judge(found.instances, row.truth, found.score)
        picture = overlay(
            row.pixels, verdict.shown, zoom=zoom, colours=verdict.colours, dashed=verdict.dashed
        )
        made.append(Panel(picture, verdict.caption))
    return made


def gallery(rows: Sequence[GalleryRow], zoom: int | None = None) -> Rgb:
    """The grid as one picture, uint8 (H, W, 3), with headings, captions and a legend.

    Columns: image | labels | each method. zoom: whole-number magnification, chosen so that a panel
    is about 500 pixels wide when None. ValueError without rows or with unlike methods.
    """
    from PIL import Image as Picture

    if not rows or any(list(row.found) != list(rows[0].found) for row in rows):
        raise ValueError("A gallery needs rows that all have the same methods")
    widest = max(row.pixels.shape[1] for row in rows)
    factor = zoom or max(1, round(500 / widest))
    grid = [panels(row, factor) for row in rows]
    width = max(panel.picture.shape[1] for line in grid for panel in line)
    heights = [max(panel.picture.shape[0] for panel in line) for line in grid]
    size = (
        2 * _MARGIN + len(grid[0]) * (width + _GAP) - _GAP,
        2 * _MARGIN + 2 * _LINE + sum(h + _LINE + _GAP for h in heights),
    )
    sheet = Picture.new("RGB", size, _PAPER)
    _headings(sheet, ["image", "labels", *rows[0].found], width)
    top = _MARGIN + _LINE
    for line, height in zip(grid, heights, strict=True):
        for column, panel in enumerate(line):
            left = _MARGIN + column * (width + _GAP)
            sheet.paste(Picture.fromarray(panel.picture), (left, top))
            _write(sheet, (left, top + height + 3), panel.caption, _FAINT)
        top += height + _LINE + _GAP
    _legend(sheet, top)
    return np.asarray(sheet)


def write_gallery(path: Path, rows: Sequence[GalleryRow], zoom: int | None = None) -> None:
    """`gallery` as a PNG file, which appears when it is whole."""
    from organoseg.core import write_bytes

    write_bytes(path, png(gallery(rows, zoom)))


def png(picture: Rgb) -> bytes:
    """A picture (H, W, 3) as the bytes of a PNG file."""
    import io

    from PIL import Image as Picture

    buffer = io.BytesIO()
    Picture.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _headings(sheet: Any, titles: Sequence[str], width: int) -> None:
    for column, title in enumerate(titles):
        _write(sheet, (_MARGIN + column * (width + _GAP), _MARGIN - 4), title, _INK, 16)


def _legend(sheet: Any, top: int) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(sheet)
    left = _MARGIN
    for colour, text in ((FOUND, "found"), (INVENTED, "invented"), (MISSED, "missed (dashed)")):
        draw.rectangle((left, top + 4, left + 14, top + 14), fill=colour, outline=_FAINT)
        left = _write(sheet, (left + 20, top), text, _INK) + 18
    note = "violet: where outlines overlap. In the labels each organoid has its own colour."
    _write(sheet, (left, top), note, _INK)


def _write(
    sheet: Any, place: tuple[int, int], text: str, colour: tuple[int, int, int], size: int = 13
) -> int:
    """Write and return the x where the text ends."""
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=size)
    draw.text(place, text, fill=colour, font=font)
    return int(place[0] + draw.textlength(text, font=font))
