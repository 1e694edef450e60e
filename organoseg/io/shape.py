"""Lengths and forms of one mask, also where pixels are not square."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Mask

Size = tuple[float, float]
_SQUARE: Size = (1.0, 1.0)


@dataclass(frozen=True)
class Form:
    """Figures of one mask, lengths in the unit in which its pixels were given."""

    area: float
    feret: float
    perimeter: float
    solidity: float
    eccentricity: float

    @property
    def equivalent_diameter(self) -> float:
        """Of a disc of the same area."""
        return math.sqrt(4 * self.area / math.pi)

    @property
    def circularity(self) -> float:
        """4 pi area / perimeter^2, at most 1, which a disc has."""
        return min(1.0, 4 * math.pi * self.area / self.perimeter**2)

    def scaled(self, factor: float) -> Form:
        """The same mask with lengths ``factor`` times as large."""
        return replace(
            self,
            area=self.area * factor**2,
            feret=self.feret * factor,
            perimeter=self.perimeter * factor,
        )


def form_of(mask: Mask, size: Size = _SQUARE) -> Form:
    """The figures of a mask whose pixels have this height and width."""
    area = mask.area * size[0] * size[1]
    feret, hull = feret_and_hull(mask, size)
    return Form(area, feret, crofton(mask, size), area / hull, eccentricity(mask, size))


def crofton(mask: Mask, size: Size = _SQUARE) -> float:
    """Perimeter, holes and all, in the unit of ``size`` (height and width of a pixel).

    Crofton's formula: lines in four directions are laid over the mask, and the more often they cross its border, the
    longer that is. Unlike a count of border pixels it does not depend on how the border runs.
    """
    height, width = size
    bits = np.pad(mask.bits, 1)
    crossings = (
        np.count_nonzero(bits[:, 1:] ^ bits[:, :-1]),
        np.count_nonzero(bits[1:, 1:] ^ bits[:-1, :-1]),
        np.count_nonzero(bits[1:] ^ bits[:-1]),
        np.count_nonzero(bits[1:, :-1] ^ bits[:-1, 1:]),
    )
    slope = math.atan2(height, width)
    between = height * width / math.hypot(height, width)
    # How far lines of each direction lie apart, and the sector of directions that each stands for.
    apart = (height, between, width, between)
    sectors = (slope, math.pi / 4, math.pi / 2 - slope, math.pi / 4)
    return float(0.5 * sum(n * d * s for n, d, s in zip(crossings, apart, sectors, strict=True)))


def feret_and_hull(mask: Mask, size: Size = _SQUARE) -> tuple[float, float]:
    """Greatest distance across, and area of the convex hull, of the corners of the mask's pixels."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    hull = ConvexHull(_ends_of_rows(mask) * np.array(size))
    return float(pdist(hull.points[hull.vertices]).max()), float(hull.volume)


def _ends_of_rows(mask: Mask) -> NDArray[np.float64]:
    """Corners (N, 2) of the first and last pixel of every row: no other can lie on the hull."""
    width = mask.bits.shape[1]
    rows = np.flatnonzero(mask.bits.any(axis=1))
    left = mask.bits[rows].argmax(axis=1)
    right = width - mask.bits[rows, ::-1].argmax(axis=1)
    corners = [(rows + down, side) for down in (0, 1) for side in (left, right)]
    return np.concatenate([np.stack(pair, axis=1) for pair in corners]).astype(np.float64)


def eccentricity(mask: Mask, size: Size = _SQUARE) -> float:
    """Of the ellipse with the same second moments: 0 for a disc, towards 1 for a line."""
    rows, columns = np.nonzero(mask.bits)
    # 1/12 is the second moment of a pixel's own square: without it a line would have no width.
    spread = np.cov(np.stack([rows * size[0], columns * size[1]]), bias=True)
    small, large = np.linalg.eigvalsh(spread + np.diag(np.square(size)) / 12)
    return math.sqrt(max(0.0, 1 - small / large))
