"""How far the whole field moved between two frames, from the organoids alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances
from organoseg.core.overlap import coverage

#: Fewer organoids than this cannot tell a moved field from moved organoids.
FEWEST = 4
#: The frames are compared on a grid of at most this many cells a side.
_GRID = 256
#: A field that moved by more than this share of its side is another field.
_FARTHEST = 0.25
#: A shift is believed when it makes the masks of the two frames meet on this much more area.
_GAIN = 1.1


def drift(before: Instances, after: Instances) -> tuple[float, float]:
    """Shift (y, x) in pixels that lays the organoids of ``before`` on those of ``after``; (0, 0) when unsure.

    The shift at which the masks share most area, then the median step of organoids that are each other's nearest.
    It is taken only where it pays: a field in which each organoid goes its own way has no drift.
    """
    if before.shape != after.shape or min(len(before), len(after)) < FEWEST:
        return 0.0, 0.0
    step = max(1, -(-max(before.shape) // _GRID))
    a, b = (_coarse(found, step) for found in (before, after))
    table = _correlation(a, b)
    limit = [max(1, int(side * _FARTHEST)) for side in a.shape]
    middle = [side - 1 for side in a.shape]
    window = table[
        middle[0] - limit[0] : middle[0] + limit[0] + 1,
        middle[1] - limit[1] : middle[1] + limit[1] + 1,
    ]
    y, x = np.unravel_index(int(window.argmax()), window.shape)
    rough = np.array([y - limit[0], x - limit[1]]) * float(step)
    if window[y, x] < _GAIN * table[middle[0], middle[1]]:
        rough[:] = 0
    fine = _median_step(_centres(before) + rough, _centres(after), before)
    shift = rough + fine
    return float(shift[0]), float(shift[1])


def _centres(found: Instances) -> NDArray[np.float64]:
    return np.array([mask.centroid for mask in found], np.float64).reshape(-1, 2)


def _coarse(found: Instances, step: int) -> NDArray[np.float64]:
    """Share of each cell of ``step`` pixels that is organoid."""
    covered = (coverage(found.shape, found.masks) > 0).astype(np.float64)
    height, width = (-(-side // step) * step for side in covered.shape)
    padded = np.zeros((height, width))
    padded[: covered.shape[0], : covered.shape[1]] = covered
    cells: NDArray[np.float64] = padded.reshape(height // step, step, width // step, step).mean(
        axis=(1, 3)
    )
    return cells


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area that ``a``, moved, shares with ``b``; entry (side - 1 + shift) an axis."""
    from scipy.signal import fftconvolve

    table: NDArray[np.float64] = fftconvolve(b, a[::-1, ::-1])
    return table


def _median_step(
    before: NDArray[np.float64], after: NDArray[np.float64], found: Instances
) -> NDArray[np.float64]:
    """Median step of organoids that are each other's nearest, no farther than their own size."""
    from scipy.spatial import cKDTree

    far, there = cKDTree(after).query(before)
    _, back = cKDTree(before).query(after)
    size = np.sqrt(found.areas / np.pi)
    mutual = (back[there] == np.arange(len(before))) & (far < size)
    if np.count_nonzero(mutual) < FEWEST:
        return np.zeros(2)
    steps: NDArray[np.float64] = np.median((after[there] - before)[mutual], axis=0)
    return steps
