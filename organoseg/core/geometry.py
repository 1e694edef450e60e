"""Masks under crops, flips, quarter turns and scaling. Each returns None when nothing is left."""

import numpy as np
from numpy.typing import NDArray

from organoseg.core.mask import Mask


def window(mask: Mask, y: int, x: int, h: int, w: int) -> Mask | None:
    """The part of a mask inside the window, in the window's coordinates."""
    y0, x0, y1, x1 = mask.box
    if y <= y0 and x <= x0 and y1 <= y + h and x1 <= x + w:
        return Mask(y0 - y, x0 - x, mask.bits)
    top, left = max(y0, y), max(x0, x)
    bottom, right = min(y1, y + h), min(x1, x + w)
    if top >= bottom or left >= right:
        return None
    return Mask.from_bits(
        mask.bits[top - y0 : bottom - y0, left - x0 : right - x0], top - y, left - x
    )


def flip(mask: Mask, shape: tuple[int, int], axis: int) -> Mask:
    """The mask in an image of `shape` mirrored along axis 0 (up-down) or 1 (left-right)."""
    y0, x0, y1, x1 = mask.box
    if axis == 0:
        return Mask(shape[0] - y1, x0, mask.bits[::-1])
    return Mask(y0, shape[1] - x1, mask.bits[:, ::-1])


def rot90(mask: Mask, shape: tuple[int, int], k: int) -> Mask:
    """The mask in an image of `shape` turned as np.rot90 turns it, k quarters."""
    height, width = shape
    y0, x0, y1, x1 = mask.box
    corner = {0: (y0, x0), 1: (width - x1, y0), 2: (height - y1, width - x1), 3: (x0, height - y1)}
    y, x = corner[k % 4]
    return Mask(y, x, np.rot90(mask.bits, k))


def scale(mask: Mask, shape: tuple[int, int], target: tuple[int, int]) -> Mask | None:
    """The mask in an image of `shape` resized to `target`.

    A pixel of the result is set when at least half of its area was: nearest neighbour when an
    image grows by whole factors, a majority vote when it shrinks.
    """
    y0, x0, _, _ = mask.box
    height, width = mask.bits.shape
    top, rows = _shares(y0, height, target[0] / shape[0], target[0])
    left, columns = _shares(x0, width, target[1] / shape[1], target[1])
    share = _average(mask.bits.astype(np.float64), rows)
    share = _average(share.T, columns).T
    return Mask.from_bits(share >= 0.5 - 1e-9, top, left)


def _shares(start: int, length: int, factor: float, limit: int) -> tuple[int, NDArray[np.float64]]:
    """First target pixel that a stretch of source pixels reaches, and the target pixels' edges.

    The edges (K + 1,) are in source pixels from the stretch's start; they may lie outside it.
    """
    first = max(0, int(np.floor(start * factor)))
    last = min(limit, int(np.ceil((start + length) * factor)))
    return first, np.arange(first, max(last, first + 1) + 1) / factor - start


def _average(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over [edges[i], edges[i + 1]) of rows `values` (h, w), zero outside -> (K, w)."""
    height = len(values)
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    inside = np.clip(edges, 0, height)
    whole = np.minimum(inside.astype(np.int64), height - 1)
    integral = total[whole] + (inside - whole)[:, None] * values[whole]
    mean: NDArray[np.float64] = np.diff(integral, axis=0) / np.diff(edges)[:, None]
    return mean
