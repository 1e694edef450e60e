"""How likely each cell of an archive is drawn: small groups are heard, empty and blurred cells are rare."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.archive.manifest import Cells, Manifest, PlaneKey
from organoseg.archive.projection import Views, ZMode, forbidden_planes, views_of
from organoseg.archive.quarantine_map import cells_hit
from organoseg.core import DataError

#: Weight of an empty or blurred cell beside 1. Never 0: a network must have seen what is no organoid.
RARE = 0.05
#: A cell with less foreground than this is empty.
EMPTY = 0.01
#: A cell is blurred below this part of the focus that a usual cell of its group has.
BLURRED = 0.25


@dataclass(frozen=True, eq=False)
class Draws:
    """The cells that may be drawn, sorted by view, and the chance of each.

    ``cells.plane`` holds the view (not the plane) of each cell; ``cumulative`` float64 (cells,) ends at 1;
    ``first`` int64 (views + 1,) tells where the cells of a view begin. Drawing is one binary search: 17 steps among
    100,000 cells, 24 among ten million.
    """

    manifest: Manifest
    views: Views
    cells: Cells
    weights: NDArray[np.float64]
    chances: NDArray[np.float64]
    cumulative: NDArray[np.float64]
    first: NDArray[np.int64]

    def pick(self, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows of cells for numbers of [0, 1)."""
        rows = np.searchsorted(self.cumulative, uniform * self.cumulative[-1], side="right")
        found: NDArray[np.int64] = np.minimum(rows, len(self.cumulative) - 1)
        return found

    def groups(self) -> dict[str, float]:
        """Each group's share of the samples."""
        arrays = self.manifest.planes.array[self.views.plane[self.cells.plane]]
        shares = np.bincount(arrays, self.chances, minlength=len(self.manifest.arrays))
        found: dict[str, float] = {}
        for array, share in zip(self.manifest.arrays, shares.tolist(), strict=True):
            if share:
                found[array.group] = found.get(array.group, 0.0) + share
        return found


def make_draws(
    manifest: Manifest,
    *,
    z: ZMode = "best",
    exclude: Collection[PlaneKey] = (),
    exclude_groups: Collection[str] = (),
    alpha: float = 0.5,
) -> Draws:
    """Weigh every cell.

    A group of n cells weighs n**alpha (1: by size; 0: all groups alike) times the mean weight of its cells, an image
    within its group likewise, a cell within its image by focus and foreground.

    Raises DataError when nothing may be drawn.
    """
    forbidden = forbidden_planes(manifest, exclude, exclude_groups)
    # A plane that could not be read when it was indexed has no intensity, and none would be right.
    views = views_of(manifest, z, forbidden | ~np.isfinite(manifest.planes.middle))
    cells = _cells_of(manifest, views)
    cells = cells.rows(~cells_hit(manifest, views, cells))
    if not len(cells):
        raise DataError(
            "No image of the archive may be drawn from",
            remedy="All are excluded as validation or test, or in quarantine: add images to the archive.",
        )
    arrays = manifest.planes.array[views.plane[cells.plane]]
    groups = _numbers([array.group for array in manifest.arrays])[arrays]
    weights = _weights(cells, groups)
    chances = _shares(groups, weights, alpha) * _shares_within(arrays, groups, weights, alpha)
    chances *= weights / _sums(arrays, weights)[arrays]
    first = np.searchsorted(cells.plane, np.arange(len(views.plane) + 1))
    cumulative = np.cumsum(chances)
    return Draws(manifest, views, cells, weights, chances, cumulative, first)


def _cells_of(manifest: Manifest, views: Views) -> Cells:
    """Cells of the planes that stand for a view, by view; ``plane`` becomes the view."""
    view_of = np.full(len(manifest.planes.array), -1, np.int64)
    view_of[views.plane] = np.arange(len(views.plane))
    view = view_of[manifest.cells.plane]
    kept = np.flatnonzero(view >= 0)
    kept = kept[np.lexsort((manifest.cells.x[kept], manifest.cells.y[kept], view[kept]))]
    chosen = manifest.cells.rows(kept)
    return Cells(view[kept], *(getattr(chosen, n) for n in Cells.__slots__[1:]))


def _numbers(names: list[str]) -> NDArray[np.int64]:
    return np.unique(np.array(names, object).astype(str), return_inverse=True)[1].astype(np.int64)


def _weights(cells: Cells, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 for a cell with organoids in focus, `RARE` for others; float64 (cells,)."""
    # What was never measured is no reason to leave a cell out.
    foreground = np.nan_to_num(cells.foreground.astype(np.float64), nan=1.0)
    focus = np.nan_to_num(cells.focus.astype(np.float64), nan=np.inf)
    filled = foreground >= EMPTY
    usual = np.zeros(int(groups.max()) + 1)
    told = np.flatnonzero(filled & np.isfinite(focus))
    order = told[np.lexsort((focus[told], groups[told]))]
    numbers, first, counts = np.unique(groups[order], return_index=True, return_counts=True)
    usual[numbers] = focus[order[first + counts * 3 // 4]] if len(order) else 0.0
    sharp = focus >= BLURRED * usual[groups]
    return np.where(filled & sharp, 1.0, RARE)


def _sums(numbers: NDArray[Any], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(numbers, values).astype(np.float64)


def _shares(
    numbers: NDArray[Any], weights: NDArray[np.float64], alpha: float
) -> NDArray[np.float64]:
    """The chance of each cell's group."""
    tempered = _tempered(numbers, weights, alpha)
    shares: NDArray[np.float64] = (tempered / tempered.sum())[numbers]
    return shares


def _shares_within(
    arrays: NDArray[Any], groups: NDArray[np.int64], weights: NDArray[np.float64], alpha: float
) -> NDArray[np.float64]:
    """The chance of each cell's image within its group."""
    tempered = _tempered(arrays, weights, alpha)
    group_of = np.zeros(len(tempered), np.int64)
    group_of[arrays] = groups
    totals = _sums(group_of, tempered)
    shares: NDArray[np.float64] = (tempered / np.maximum(totals[group_of], 1e-300))[arrays]
    return shares


def _tempered(
    numbers: NDArray[Any], weights: NDArray[np.float64], alpha: float
) -> NDArray[np.float64]:
    counts = np.bincount(numbers).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, counts ** (alpha - 1) * _sums(numbers, weights), 0.0)
