"""Windows over an image that is too large to be looked at in one piece."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from organoseg.core import UsageError

#: Coarsest grid of most engines, px.
STRIDE = 32
Shape = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an image of ``shape`` (height, width): y, x, height, width in px."""

    y: int
    x: int
    height: int
    width: int
    shape: Shape

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def depth(self, y: float, x: float) -> float:
        """Distance (px) of a point from the nearest side at which the window cuts the image; negative outside.

        Infinite for a window that is the whole image.
        """
        bottom, right = self.y + self.height, self.x + self.width
        sides = (
            (self.y > 0, y - self.y),
            (self.x > 0, x - self.x),
            (bottom < self.shape[0], bottom - y),
            (right < self.shape[1], right - x),
        )
        return min((distance for cuts, distance in sides if cuts), default=math.inf)

    def depth_of(self, box: Box) -> float:
        """`depth` of the part of a box (y0, x0, y1, x1, half-open) that is nearest to such a side."""
        y0, x0, y1, x1 = box
        return min(self.depth(y, x) for y, x in product((y0, y1), (x0, x1)))


def windows(shape: Shape, side: int, overlap: int, stride: int = STRIDE) -> tuple[Window, ...]:
    """Windows of at most ``side`` px that cover an image and overlap by at least ``overlap`` px, spread evenly.

    They begin at multiples of ``stride``, so that the network's grid lies on the image as it would lie on the whole.
    UsageError when they cannot.
    """
    step = (side - overlap) // stride * stride
    if overlap < 0 or step < stride:
        raise UsageError(
            f"Tiles of {side} px cannot overlap by {overlap} px",
            remedy=f"Give a tile larger than its overlap by at least {stride} px.",
        )
    spans = [_spans(length, side, step, stride) for length in shape]
    return tuple(Window(y, x, high, wide, shape) for (y, high), (x, wide) in product(*spans))


def _spans(length: int, side: int, step: int, stride: int) -> list[tuple[int, int]]:
    """(start, length) along one axis."""
    if length <= side:
        return [(0, length)]
    count = math.ceil((length - side) / step) + 1
    even = (length - side) / (count - 1)
    # Rounded up but for the first: a window may be a little shorter, an overlap never is.
    starts = [
        min(math.ceil(place * even / stride) * stride, place * step) for place in range(count)
    ]
    ends = [min(start + side, length) for start in starts]
    return [(start, end - start) for start, end in zip(starts, ends, strict=True)]
