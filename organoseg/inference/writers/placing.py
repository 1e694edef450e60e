"""Where the numbers of organoids go on a picture, so that each can be read and told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances, Mask
from organoseg.core.overlap import coverage

Point = tuple[float, float]
Box = tuple[float, float, float, float]
_GAP = 3.0
#: Side in px of the canvas of the squares by which free places are found.
_SQUARE = 4
#: Where numbers would cover more than this share of the canvas, those without a free place are left out.
_CROWDED = 0.4


@dataclass(frozen=True)
class Label:
    """A number's place in px of the canvas: its middle (y, x), and what it points at when it stands aside."""

    index: int
    y: float
    x: float
    target: Point | None = None


class _Taken:
    """Where numbers stand, on a grid of small squares of the canvas."""

    def __init__(self, limit: Point) -> None:
        high, wide = (math.ceil(side / _SQUARE) + 1 for side in limit)
        self._grid = np.zeros((high, wide), np.bool_)

    def _part(self, box: Box) -> NDArray[np.bool_]:
        y0, x0, y1, x1 = (max(0, math.ceil(edge / _SQUARE - 0.5)) for edge in box)
        return self._grid[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]

    def overlap(self, box: Box) -> float:
        """Area of ``box`` in px of the canvas that others have."""
        return float(np.count_nonzero(self._part(box))) * _SQUARE**2

    def add(self, box: Box) -> None:
        """Take it."""
        self._part(box)[...] = True


class _Covered:
    """How much of a rectangle of the canvas organoids cover, by a table of sums."""

    def __init__(self, covered: NDArray[np.bool_], zoom: float) -> None:
        self._sums = np.pad(
            covered.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32), ((1, 0), (1, 0))
        )
        self._zoom = zoom

    def within(self, box: Box) -> float:
        """Area in px of the canvas."""
        high, wide = self._sums.shape
        y0, y1 = (min(max(round(v / self._zoom), 0), high - 1) for v in (box[0], box[2]))
        x0, x1 = (min(max(round(v / self._zoom), 0), wide - 1) for v in (box[1], box[3]))
        sums = self._sums
        count = int(sums[y1, x1]) - int(sums[y0, x1]) - int(sums[y1, x0]) + int(sums[y0, x0])
        return count * self._zoom**2


def place(
    instances: Instances,
    zoom: float,
    sizes: Sequence[tuple[float, float]],
) -> list[Label]:
    """A place for each organoid's number on a canvas ``zoom`` times the image.

    sizes: (height, width) of each number in px of the canvas.
    A number stands in the thickest part of what is its organoid's alone; where it does not fit there, or another
    number is in the way, beside the organoid with a line to it. Small organoids
    choose first: they have the least room. Where there are far too many to be read, some stay without a number.
    """
    layers = coverage(instances.shape, instances.masks)
    shared = layers > 1
    limit = (instances.shape[0] * zoom, instances.shape[1] * zoom)
    taken = _Taken(limit)
    crowded = sum(high * wide for high, wide in sizes) > _CROWDED * limit[0] * limit[1]
    covered = _Covered(layers > 0, zoom)
    labels = []
    for index in np.argsort(instances.areas, kind="stable").tolist():
        mask, size = instances.masks[index], sizes[index]
        heart, depth = _heart(mask, shared)
        middle = ((heart[0] + 0.5) * zoom, (heart[1] + 0.5) * zoom)
        inside = depth * zoom >= np.hypot(*size) / 2 * 1.25
        best, cost = middle, float("inf")
        for step, spot in enumerate(_spots(mask, middle, size, zoom, inside, crowded)):
            at = _within(spot, size, limit)
            box = _box(at, size)
            price = taken.overlap(box) + 0.01 * size[0] * step
            if not (inside and step == 0):
                price += 0.15 * covered.within(box)
            if price < cost:
                best, cost = at, price
            if price == 0:
                break
        if crowded and taken.overlap(_box(best, size)):
            continue
        taken.add(_box(best, size, _GAP / 2))
        aside = not _in_mask(mask, best, zoom)
        clear = _beside(mask, _box(best, size), zoom) and covered.within(_box(best, size)) == 0
        labels.append(Label(index, best[0], best[1], middle if aside and not clear else None))
    return labels


def _heart(mask: Mask, shared: NDArray[np.bool_]) -> tuple[Point, float]:
    """The pixel (y, x) farthest from the border of what is the mask's alone, and how far that is in px."""
    from scipy import ndimage

    y0, x0, y1, x1 = mask.box
    own = mask.bits & ~shared[y0:y1, x0:x1]
    if np.count_nonzero(own) < 0.2 * mask.area:
        own = mask.bits
    depth = ndimage.distance_transform_edt(np.pad(own, 1))[1:-1, 1:-1]
    # Many pixels of a disc are nearly as deep: the one nearest the centroid looks best.
    rows, columns = np.nonzero(depth >= depth.max() - 0.75)
    cy, cx = mask.centroid
    near = int(np.argmin((rows + y0 - cy) ** 2 + (columns + x0 - cx) ** 2))
    return (float(rows[near] + y0), float(columns[near] + x0)), float(depth.max())


def _spots(
    mask: Mask, middle: Point, size: tuple[float, float], zoom: float, inside: bool, crowded: bool
) -> list[Point]:
    """Places to try, the best first."""
    y0, x0, y1, x1 = (edge * zoom for edge in mask.box)
    up, down = y0 - size[0] / 2 - _GAP, y1 + size[0] / 2 + _GAP
    left, right = x0 - size[1] / 2 - _GAP, x1 + size[1] / 2 + _GAP
    y, x = middle
    beside = [(up, x), (y, right), (down, x), (y, left)]
    corners = [(up, right), (down, right), (up, left), (down, left)]
    if crowded:  # far places are taken
        return [middle, *beside] if inside else [*beside, middle]
    far = [
        (
            y + ring * np.sin(turn) * (size[0] + (y1 - y0) / 2),
            x + ring * np.cos(turn) * (size[1] + (x1 - x0) / 2),
        )
        for ring in (1.4, 2.0, 2.8)
        for turn in np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ]
    shifted = [
        (y + dy * size[0], x + dx * size[1] / 2) for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    return (
        [middle, *shifted, *beside, *corners, *far] if inside else [*beside, *corners, middle, *far]
    )


def _beside(mask: Mask, box: Box, zoom: float) -> bool:
    """Whether the rectangle is so close to the mask's pixels that nobody asks whose it is."""
    gap = 3 * _GAP
    y0, x0 = (math.floor((edge - gap) / zoom) for edge in box[:2])
    y1, x1 = (math.ceil((edge + gap) / zoom) for edge in box[2:])
    rows = slice(max(0, y0 - mask.y), max(0, y1 - mask.y))
    columns = slice(max(0, x0 - mask.x), max(0, x1 - mask.x))
    return bool(mask.bits[rows, columns].any())


def _in_mask(mask: Mask, place: Point, zoom: float) -> bool:
    y, x = int(place[0] / zoom) - mask.y, int(place[1] / zoom) - mask.x
    height, width = mask.bits.shape
    return 0 <= y < height and 0 <= x < width and bool(mask.bits[y, x])


def _within(place: Point, size: tuple[float, float], limit: tuple[float, float]) -> Point:
    """The place, moved so that the number is on the canvas."""
    y, x = (
        float(np.clip(value, side / 2 + 1, max(end - side / 2 - 1, side / 2 + 1)))
        for value, side, end in zip(place, size, limit, strict=True)
    )
    return y, x


def _box(place: Point, size: tuple[float, float], margin: float = 0.0) -> Box:
    high, wide = size[0] / 2 + margin, size[1] / 2 + margin
    return place[0] - high, place[1] - wide, place[0] + high, place[1] + wide
