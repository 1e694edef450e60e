"""What a plane and its cells look like, cheaply: brightness, spread, focus and how much is not background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core.intensity import LARGEST

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class CellStatistics:
    """One row a cell: (row, column, mean, spread, focus, foreground); ``focus``: of the whole plane."""

    rows: list[tuple[int, int, float, float, float, float]]
    focus: float


def level_for(shapes: list[tuple[int, int]], cell: int) -> int:
    """The smallest level (sizes in px, full size first) that is as fine as `Intensity` looks and gives a cell 16 px."""
    best = 0
    for number, size in enumerate(shapes):
        factor = max(shapes[0]) / max(size)
        if max(size) > LARGEST // 2 and (cell / factor >= 16) and max(size) < max(shapes[best]):
            best = number
    return best


def cell_statistics(plane: Pixels, size: tuple[int, int], cell: int) -> CellStatistics:
    """Of a plane (H, W), any level of an image of ``size`` px that is cut into cells of ``cell`` px.

    focus: spread of the Laplacian over the plane's middle grey, higher is sharper; its plane value is the median of
    the cells', which one sharp fibre does not move. foreground: part of px, 0 to 1, with more texture around them than
    the background has.
    """
    from scipy.ndimage import laplace, uniform_filter

    grey = plane.astype(np.float32)
    grey /= max(float(np.median(grey)), (float(grey.max()) - float(grey.min())) / 4, 1e-6)
    edges = laplace(grey, mode="nearest")
    texture = uniform_filter(grey * grey, 5) - uniform_filter(grey, 5) ** 2
    texture = np.sqrt(np.maximum(texture, 0))
    # Twice what the calmest fifth shows. Where nothing is calm, texture of 4 % of the grey is an object all the same.
    busy = texture > np.clip(2 * np.percentile(texture, 20), 0.01, 0.04)
    rows: list[tuple[int, int, float, float, float, float]] = []
    for row in range(-(-size[0] // cell)):
        ys = _span(row, cell, size[0], plane.shape[0])
        for column in range(-(-size[1] // cell)):
            box = ys, _span(column, cell, size[1], plane.shape[1])
            part = plane[box].astype(np.float64)
            values = part.mean(), part.std(), edges[box].std(), busy[box].mean()
            rows.append((row, column, *map(float, values)))  # type: ignore[arg-type]
    return CellStatistics(rows, float(np.median([r[4] for r in rows])))


def _span(number: int, cell: int, full: int, small: int) -> slice:
    start = min(number * cell * small // full, small - 1)
    end = min(-(-min((number + 1) * cell, full) * small // full), small)
    return slice(start, max(end, start + 1))
