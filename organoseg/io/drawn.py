"""What a person drew in some labelling tool, and the mask that it is.

Coordinates are (y, x) in pixels; (0, 0) is the upper left corner of the upper left pixel, whose centre therefore lies
at (0.5, 0.5). A pixel belongs to what was drawn when its centre does: outlines along the edges of pixels, as organoseg,
ImageJ and QuPath write them, give the same pixels back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Mask
from organoseg.io.coco_masks import Decoded

#: Corners (N, 2) of a closed line as (y, x), float64; whether the first is repeated at the end does not matter.
Line = NDArray[np.float64]

# Annotation tools put the right and lower edge at the image's size, or up to a pixel past it.
EDGE_TOLERANCE = 1.0


@dataclass(frozen=True, eq=False)
class Area:
    """Parts, of which each is filled by the even-odd rule of its lines: an outer line, then its holes."""

    parts: tuple[tuple[Line, ...], ...]


@dataclass(frozen=True)
class Ellipse:
    """Centre, half axes, and the turn of the image clockwise, as it is seen, in radians."""

    y: float
    x: float
    half_height: float
    half_width: float
    turn: float = 0.0


@dataclass(frozen=True)
class Box:
    """A rectangle around an organoid. It says where the organoid is, not what its pixels are."""

    y0: float
    x0: float
    y1: float
    x1: float
    turn: float = 0.0

    def ellipse(self) -> Ellipse:
        """The ellipse that fills the box: the best guess at an organoid of which only the box is known."""
        height, width = (self.y1 - self.y0) / 2, (self.x1 - self.x0) / 2
        return Ellipse(self.y0 + height, self.x0 + width, abs(height), abs(width), self.turn)


@dataclass(frozen=True, eq=False)
class Pixels:
    """A mask as the tool stored it: bool (h, w), its corner at row ``y``, column ``x``."""

    bits: NDArray[np.bool_]
    y: int = 0
    x: int = 0


@dataclass(frozen=True, eq=False)
class Drawn:
    """One organoid as it was drawn.

    who: what to call it in a message; label: the name of its class, "" where the tool has none; source: who made it,
    where the file says so; fault: why its file's entry could not be understood ("" else).
    """

    who: str
    shape: Area | Ellipse | Box | Pixels
    label: str = ""
    source: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Sheet:
    """What was drawn on one image; size: its (height, width) where the file says so; skipped: what is no organoid."""

    drawn: tuple[Drawn, ...]
    size: tuple[int, int] | None = None
    skipped: dict[str, int] = field(default_factory=dict)


def rasterise(shape: Area | Ellipse | Box | Pixels, size: tuple[int, int]) -> Decoded:
    """The mask of what was drawn, in an image of ``size`` (height, width), with every fault that it has.

    What reaches past the image is cut there, with a fault when it is more than a pixel.
    """
    if isinstance(shape, Box):
        shape = shape.ellipse()
    if isinstance(shape, Pixels):
        return _placed(shape, size)
    if isinstance(shape, Ellipse):
        return _ellipse(shape, size)
    return _area(shape, size)


def _area(area: Area, size: tuple[int, int]) -> Decoded:
    faults: list[str] = []
    canvas: NDArray[np.bool_] | None = None
    whole: list[tuple[Line, ...]] = []
    for lines in area.parts:
        good = []
        for line in lines:
            if line.ndim != 2 or line.shape[-1] != 2 or not np.isfinite(line).all():
                return Decoded(None, ("coordinates that are not numbers",), repaired=False)
            if len(np.unique(line, axis=0)) < 3:
                faults.append("polygon of fewer than 3 points")
                continue
            good.append(line)
        if good:
            whole.append(tuple(good))
    if not whole:
        return Decoded(None, tuple(faults) or ("outline without a point",))
    corners = np.concatenate([line for lines in whole for line in lines])
    low, high = corners.min(axis=0), corners.max(axis=0)
    trouble = _outside(low.tolist(), high.tolist(), size)
    if trouble == _FAR:
        return Decoded(None, (*faults, trouble), repaired=False)
    if trouble:
        faults.append(trouble)
    top, left = (max(0, math.floor(v)) for v in low.tolist())
    bottom, right = (min(s, math.ceil(v)) for s, v in zip(size, high.tolist(), strict=True))
    if bottom > top and right > left:
        canvas = np.zeros((bottom - top, right - left), np.bool_)
        for lines in whole:
            canvas |= _fill(lines, canvas.shape, (top, left))
    mask = None if canvas is None else Mask.from_bits(canvas, top, left)
    return _decoded(mask, faults)


def _fill(
    lines: Sequence[Line], window: tuple[int, ...], corner: tuple[int, int]
) -> NDArray[np.bool_]:
    from skimage import draw

    polygon: Any = draw.polygon
    bits = np.zeros(window, np.bool_)
    for line in lines:
        # skimage asks for the points (row, column), which here are the centres of the pixels.
        rows, columns = polygon(line[:, 0] - corner[0] - 0.5, line[:, 1] - corner[1] - 0.5, window)
        bits[rows, columns] ^= True
    return bits


def _ellipse(ellipse: Ellipse, size: tuple[int, int]) -> Decoded:
    numbers = (ellipse.y, ellipse.x, ellipse.half_height, ellipse.half_width, ellipse.turn)
    if not all(math.isfinite(n) for n in numbers):
        return Decoded(None, ("coordinates that are not numbers",), repaired=False)
    if min(ellipse.half_height, ellipse.half_width) <= 0:
        return Decoded(None, ("box or ellipse without an area",))
    cos, sin = math.cos(ellipse.turn), math.sin(ellipse.turn)
    reach_y = math.hypot(ellipse.half_height * cos, ellipse.half_width * sin)
    reach_x = math.hypot(ellipse.half_width * cos, ellipse.half_height * sin)
    low, high = (
        (ellipse.y - reach_y, ellipse.x - reach_x),
        (ellipse.y + reach_y, ellipse.x + reach_x),
    )
    trouble = _outside(low, high, size)
    if trouble == _FAR:
        return Decoded(None, (trouble,), repaired=False)
    top, left = (max(0, math.floor(v)) for v in low)
    bottom, right = (min(s, math.ceil(v)) for s, v in zip(size, high, strict=True))
    rows = np.arange(top, max(top, bottom))[:, None] + 0.5 - ellipse.y
    columns = np.arange(left, max(left, right))[None, :] + 0.5 - ellipse.x
    along, across = columns * cos + rows * sin, rows * cos - columns * sin
    bits = (along / ellipse.half_width) ** 2 + (across / ellipse.half_height) ** 2 <= 1
    mask = Mask.from_bits(bits, top, left) if bits.size else None
    return _decoded(mask, [trouble] if trouble else [])


def _placed(pixels: Pixels, size: tuple[int, int]) -> Decoded:
    whole = Mask.from_bits(pixels.bits) if pixels.bits.size else None
    if whole is None:
        return Decoded(None, (_EMPTY,))
    y, x = whole.y + pixels.y, whole.x + pixels.x
    height, width = whole.bits.shape
    cut = whole.bits[max(0, -y) : max(0, size[0] - y), max(0, -x) : max(0, size[1] - x)]
    mask = Mask.from_bits(cut, max(0, y), max(0, x)) if cut.size else None
    inside = y >= 0 and x >= 0 and y + height <= size[0] and x + width <= size[1]
    return _decoded(mask, [] if inside else [_OUT])


_OUT = "reaches out of the image"
_FAR = "lies far outside the image"
_EMPTY = "covers no pixel"


def _outside(low: Sequence[float], high: Sequence[float], size: tuple[int, int]) -> str:
    if any(a < -s or b > 2 * s for a, b, s in zip(low, high, size, strict=True)):
        return _FAR
    tolerance = EDGE_TOLERANCE
    if any(a < -tolerance or b > s + tolerance for a, b, s in zip(low, high, size, strict=True)):
        return _OUT
    return ""


def _decoded(mask: Mask | None, faults: list[str]) -> Decoded:
    return Decoded(mask, tuple(faults) if mask is not None else (*faults, _EMPTY))
