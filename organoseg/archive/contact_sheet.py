"""A picture of a group: planes spread over it, each with its name, so that a person sees what an archive holds."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.archive.access import open_level
from organoseg.archive.catalogue import Catalogue
from organoseg.archive.records import ImageRecord
from organoseg.archive.statistics import level_for
from organoseg.core import DataError, Intensity
from organoseg.core.files import write_bytes

#: Side of a thumbnail in px, thumbnails a row, and at most on a sheet.
SIDE, ACROSS, MOST = 220, 6, 24
_GAP, _TITLE, _CAPTION = 8, 34, 32
_PAPER, _INK, _DIM, _BAR = (255, 255, 255), (20, 20, 20), (110, 110, 110), (255, 200, 0)


@dataclass(frozen=True, slots=True)
class _Shot:
    image: ImageRecord
    t: int
    c: int
    z: int
    intensity: Intensity
    double: bool


def contact_sheets(catalogue: Catalogue, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write ``folder``/NAME.png for every group and yield (group, file). RunError when the disk does not take it.

    A thumbnail spans the plane's percentiles .5 to 99.5 as training sees them; a plane that cannot be read is a red
    field. A yellow bar is as long as its label says where the pixel size is known.
    """
    images = {image.id: image for image in catalogue.images}
    table = catalogue.plane_table()
    rows: dict[str, list[int]] = {}
    for row, number in enumerate(table.image.tolist()):
        rows.setdefault(images[number].group, []).append(row)
    used: set[str] = set()
    for group in sorted(rows):
        chosen = [rows[group][i] for i in _spread(len(rows[group]))]
        shots = []
        for row in chosen:
            t, c, z = (int(axis[row]) for axis in (table.t, table.c, table.z))
            grey = Intensity(
                float(table.low[row]), float(table.middle[row]), float(table.high[row])
            )
            double = bool(table.duplicate_of[row] >= 0)
            shots.append(_Shot(images[int(table.image[row])], t, c, z, grey, double))
        count = len({int(table.image[row]) for row in rows[group]})
        title = (
            f"{group or 'no group'}:  {_count(count, 'image')}, {_count(len(rows[group]), 'plane')}"
        )
        if len(chosen) < len(rows[group]):
            title += f", {len(chosen)} of them shown"
        path = folder / f"{_file_name(group, used)}.png"
        write_bytes(path, _sheet(catalogue, shots, title))
        yield group, path


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _spread(count: int) -> list[int]:
    """Up to `MOST` places, evenly over all."""
    if count <= MOST:
        return list(range(count))
    return [int((i + 0.5) * count / MOST) for i in range(MOST)]


def _file_name(group: str, used: set[str]) -> str:
    stem = re.sub(r"[^\w.-]+", "_", group).strip("._")[-100:] or "no_group"
    name, number = stem, 2
    while name.lower() in used:
        name, number = f"{stem}_{number}", number + 1
    used.add(name.lower())
    return name


def _sheet(catalogue: Catalogue, shots: list[_Shot], title: str) -> bytes:
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    across = min(ACROSS, max(len(shots), 3))
    down = math.ceil(len(shots) / across)
    size = (
        _GAP + across * (SIDE + _GAP),
        _TITLE + down * (SIDE + _CAPTION + _GAP),
    )
    sheet = Pillow.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    big, small = ImageFont.load_default(17), ImageFont.load_default(12)
    draw.text((_GAP, 8), _fit(draw, title, big, size[0] - 2 * _GAP), _INK, big)
    for number, shot in enumerate(shots):
        x = _GAP + number % across * (SIDE + _GAP)
        y = _TITLE + number // across * (SIDE + _CAPTION + _GAP)
        try:
            pixels = _thumbnail(catalogue, shot)
            picture = Pillow.fromarray(pixels)
            left, top = x + (SIDE - picture.width) // 2, y + (SIDE - picture.height) // 2
            sheet.paste(picture, (left, top))
            _scale_bar(draw, shot.image, picture.width, (left, top + picture.height), small)
        except DataError:
            draw.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), (170, 40, 40))
            draw.text((x + 8, y + 8), "cannot be read", _PAPER, small)
        draw.text(
            (x, y + SIDE + 2), _fit(draw, shot.image.name, small, SIDE, end=True), _INK, small
        )
        draw.text((x, y + SIDE + 16), _fit(draw, _about(shot), small, SIDE), _DIM, small)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def _thumbnail(catalogue: Catalogue, shot: _Shot) -> NDArray[np.uint8]:
    from PIL import Image as Pillow

    image = shot.image
    sizes = [_size(image, shape) for _, shape in image.levels]
    level = open_level(image, level_for(sizes, image.cell), catalogue.store_of(image).url)
    pixels = level.read(shot.t, shot.c, shot.z)
    grey = np.clip((shot.intensity.normalise(pixels) * _half(shot) + shot.intensity.middle
                    - shot.intensity.low) / max(2 * _half(shot), 1e-9), 0, 1)  # fmt: skip
    picture = Pillow.fromarray((grey * 255).astype(np.uint8))
    factor = SIDE / max(picture.size)
    wanted = tuple(max(round(side * factor), 1) for side in picture.size)
    return np.asarray(picture.resize((wanted[0], wanted[1]), Pillow.Resampling.LANCZOS))


def _half(shot: _Shot) -> float:
    return (shot.intensity.high - shot.intensity.low) / 2


def _size(image: ImageRecord, shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[image.axes.index("y")], shape[image.axes.index("x")]


def _about(shot: _Shot) -> str:
    high, wide = shot.image.size
    place = [
        f"{axis} {at + 1}/{shot.image.along(axis)}"
        for axis, at in zip("tcz", (shot.t, shot.c, shot.z), strict=True)
        if shot.image.along(axis) > 1
    ]
    parts = [f"{wide} x {high}", f"{np.dtype(shot.image.dtype).itemsize * 8} bit", *place]
    return ", ".join(parts) + (" (double)" if shot.double else "")


def _scale_bar(
    draw: Any, image: ImageRecord, width: int, corner: tuple[int, int], font: Any
) -> None:
    if image.pixel_size is None:
        return
    field = image.size[1] * image.pixel_size[1]
    length = 10.0 ** math.floor(math.log10(field / 3))
    length *= max(step for step in (1, 2, 5) if length * step <= field / 3)
    x, y = corner[0] + 6, corner[1] - 8
    draw.rectangle((x, y, x + round(length / field * width), y + 3), _BAR)
    # Pillow's own font has no letter µ.
    draw.text((x, y - 15), f"{length:g} um", _BAR, font, stroke_width=1, stroke_fill=_INK)


def _fit(draw: Any, text: str, font: Any, width: int, end: bool = False) -> str:
    """As much of the text as has room: its beginning, or its ``end``."""
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[1:] if end else text[:-1]
    return f"…{text}" if end else f"{text}…"
