"""LabelMe in: one JSON file an image, with polygons, rectangles, circles and masks."""

from __future__ import annotations

import base64
import binascii
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from organoseg.core import DataError
from organoseg.core.files import read_json
from organoseg.io.drawn import Area, Box, Drawn, Ellipse, Pixels, Sheet
from organoseg.io.joined import Piece, joined
from organoseg.io.parsing import parse

#: Drawings that cover nothing.
_NO_AREA = {"point", "points", "line", "linestrip"}


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    label: str | int | float | None = None
    points: list[tuple[float, float]]
    shape_type: str = "polygon"
    group_id: int | str | None = None
    mask: str | None = None


class LabelMeFile(BaseModel):
    """What LabelMe writes beside an image. The copy of the image that it may hold is not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    shapes: list[_Shape]
    imagePath: str | None = None
    imageHeight: int | None = None
    imageWidth: int | None = None


def read_labelme(path: Path) -> tuple[Sheet, str]:
    """What was drawn, and the image's path as LabelMe wrote it ("" where it did not).

    Shapes of one label and one group id are one organoid. Points and lines are counted as skipped. Raises DataError
    when it is no LabelMe file; what is wrong with one shape becomes its `fault`.
    """
    file = parse(LabelMeFile, read_json(path), path, "LabelMe")
    size = None
    if file.imageHeight and file.imageWidth:
        size = (file.imageHeight, file.imageWidth)
    pieces: list[Piece] = []
    skipped: dict[str, int] = {}
    for number, shape in enumerate(file.shapes, start=1):
        if shape.shape_type in _NO_AREA:
            skipped[shape.shape_type] = skipped.get(shape.shape_type, 0) + 1
            continue
        label = "" if shape.label is None else str(shape.label)
        who = f"shape {number}"
        group = None if shape.group_id in (None, "") else (label, shape.group_id)
        try:
            pieces.append(Piece(Drawn(who, _geometry(shape, size), label), group))
        except DataError as error:
            pieces.append(Piece(Drawn(who, Area(()), label, fault=error.what), group))
    return Sheet(joined(pieces), size, skipped), file.imagePath or ""


def _geometry(shape: _Shape, size: tuple[int, int] | None) -> Area | Box | Ellipse | Pixels:
    points = np.asarray(shape.points, np.float64).reshape(-1, 2)[:, ::-1]
    kind = shape.shape_type
    if kind == "polygon":
        return Area(((points,),))
    if kind == "rectangle":
        if len(points) not in (2, 4):
            raise DataError(f"rectangle of {len(points)} corners")
        (y0, x0), (y1, x1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return Box(y0, x0, y1, x1)
    if kind == "circle":
        if len(points) != 2:
            raise DataError(f"circle of {len(points)} points")
        (y, x), (edge_y, edge_x) = points.tolist()
        radius = math.hypot(edge_y - y, edge_x - x)
        return Ellipse(y, x, radius, radius)
    if kind == "mask":
        return _mask(shape.mask, points, size)
    raise DataError(f"unknown kind of shape {kind!r}")


def _mask(text: str | None, points: Any, size: tuple[int, int] | None) -> Pixels:
    from PIL import Image as Pillow

    if text is None or len(points) < 1 or not np.isfinite(points).all():
        raise DataError("mask without its pixels or its place")
    y, x = (int(v) for v in points.min(axis=0).tolist())
    try:
        with Pillow.open(
            io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",)
        ) as png:
            width, height = png.size
            # Looked at before it is unpacked: a small file may hold a very large picture.
            if size is not None and (height > size[0] or width > size[1]):
                raise DataError("mask larger than its image")
            bits = np.asarray(png.convert("L")) > 0
    except (
        binascii.Error,
        ValueError,
        OSError,
        SyntaxError,
        Pillow.DecompressionBombError,
    ) as error:
        raise DataError("mask that is no picture") from error
    return Pixels(bits, y, x)
