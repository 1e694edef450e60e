"""Thin outlines of many organoids in one label image: where organoids overlap, their lines cross. No Qt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Mask

Box = tuple[int, int, int, int]

#: Value in the outline image of each state, and its colour (told apart by colour-blind people, bright on grey).
CODES = {"open": 1, "accepted": 2, "rejected": 3, "drawn": 4, "changed": 4}
COLOURS: dict[int | None, str] = {1: "#ffb000", 2: "#22d3aa", 3: "#e0457b", 4: "#6aa8ff"}
#: A line must still be seen when this many image pixels share one screen pixel.
_SCREEN = 1024


class Outlined(NamedTuple):
    """What is needed to draw one organoid: its mask and the code of its state."""

    mask: Mask
    code: int


def thickness(shape: tuple[int, int]) -> int:
    """Width of an outline in image pixels, such that it is seen when the whole image fills the window."""
    return max(1, -(-max(shape) // _SCREEN))


# By the mask itself, which never changes: a window is drawn anew with the same neighbours again and again.
@lru_cache(maxsize=8192)
def ring(mask: Mask, width: int) -> NDArray[np.bool_]:
    """The outermost ``width`` pixels of a mask, bool (h, w) in its box."""
    from scipy.ndimage import binary_erosion

    # The border of the box counts as outside, so that every organoid has a closed line.
    inner: NDArray[np.bool_] = binary_erosion(mask.bits, iterations=width, border_value=0)
    return mask.bits & ~inner


def draw(
    canvas: NDArray[np.uint8], organoids: Mapping[int, Outlined], box: Box | None = None
) -> tuple[slice, slice]:
    """Draw the outlines anew inside ``box`` (y0, x0, y1, x1), or everywhere; returns the window that was drawn.

    Later ids are drawn over earlier ones where lines cross.
    """
    height, width = canvas.shape
    y0, x0, y1, x1 = box or (0, 0, height, width)
    y0, x0, y1, x1 = max(y0, 0), max(x0, 0), min(y1, height), min(x1, width)
    window = slice(y0, max(y1, y0)), slice(x0, max(x1, x0))
    canvas[window] = 0
    line = thickness(canvas.shape)
    for number in sorted(organoids):
        mask, code = organoids[number]
        t, left, b, right = mask.box
        if t >= y1 or b <= y0 or left >= x1 or right <= x0:
            continue
        top, lft, bot, rgt = max(t, y0), max(left, x0), min(b, y1), min(right, x1)
        part = ring(mask, line)[top - t : bot - t, lft - left : rgt - left]
        canvas[top:bot, lft:rgt][part] = code
    return window


def union(boxes: Iterable[Box]) -> Box | None:
    """The box around several boxes; None for none."""
    rows = np.array(list(boxes), np.int64).reshape(-1, 4)
    if not len(rows):
        return None
    low, high = rows[:, :2].min(0).tolist(), rows[:, 2:].max(0).tolist()
    return low[0], low[1], high[0], high[1]
