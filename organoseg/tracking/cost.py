"""What it costs to say that two organoids of two frames are one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances, Mask
from organoseg.core.overlap import pair_intersections

#: A link that costs more is not made. No overlap, as far as may be and no growth costs 2.
CUTOFF = 2.2


@dataclass(frozen=True)
class LinkSettings:
    """What a link may be.

    reach: how far an organoid may move between two frames, in diameters of its own.
    swell: the factor by which its area may change between two frames, up or down.
    gap: frames in a row in which it may be missed.
    drift: whether a movement of the whole field is found and taken away first.
    """

    reach: float = 1.0
    swell: float = 2.5
    gap: int = 2
    drift: bool = True


@dataclass(frozen=True, eq=False)
class Costs:
    """Possible links between two frames: ``rows`` and ``columns`` (K,), ``cost`` (K,) below CUTOFF, ``iou`` (K,)."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    cost: NDArray[np.float64]
    iou: NDArray[np.float64]


def link_costs(
    before: Instances,
    after: Instances,
    shift: tuple[float, float],
    shared: Mapping[tuple[int, int], int],
    steps: int,
    settings: LinkSettings,
) -> Costs:
    """Cost of each possible link from ``before`` to ``after``, ``steps`` frames later; ``shared``: see `shared_area`.

    cost = (1 - IoU) + (distance / reach)^2 + (ln area ratio / ln swell)^2 / 2, after the field's ``shift`` (y, x) in
    pixels. IoU decides where masks still meet, distance where an organoid jumped clear of itself; growth parts a
    small one from the large one that it lies on. Reach and swell widen with the frames between, as a random walk does.
    """
    from scipy.spatial import cKDTree

    if not len(before) or not len(after):
        nobody, nothing = np.zeros(0, np.int64), np.zeros(0)
        return Costs(nobody, nobody, nothing, nothing)
    here = centres(before) + shift
    there = centres(after)
    size_a, size_b = diameters(before), diameters(after)
    widened = settings.reach * np.sqrt(steps)
    farthest = widened * (size_a.max() + size_b.max()) / 2
    near = cKDTree(here).sparse_distance_matrix(cKDTree(there), farthest, output_type="coo_matrix")
    rows, columns, far = near.row.astype(np.int64), near.col.astype(np.int64), near.data
    reach = widened * (size_a[rows] + size_b[columns]) / 2
    ratio = np.abs(np.log(after.areas[columns] / before.areas[rows]))
    swell = np.log(settings.swell) * np.sqrt(steps)
    fits = (far <= reach) & (ratio <= 2 * swell)
    rows, columns, far, reach, ratio = (v[fits] for v in (rows, columns, far, reach, ratio))
    iou = _iou(before, after, shared, rows, columns)
    cost = (1 - iou) + (far / reach) ** 2 + 0.5 * (ratio / swell) ** 2
    good = cost < CUTOFF
    return Costs(rows[good], columns[good], cost[good], iou[good])


def centres(found: Instances) -> NDArray[np.float64]:
    """Centroids (y, x) in pixels, (N, 2)."""
    return np.array([mask.centroid for mask in found], np.float64).reshape(-1, 2)


def diameters(found: Instances) -> NDArray[np.float64]:
    """Diameters in pixels, (N,), of discs of the organoids' areas."""
    across: NDArray[np.float64] = np.sqrt(4 * found.areas / np.pi)
    return across


def moved(found: Instances, shift: tuple[float, float]) -> list[Mask]:
    """The masks at another place, which may lie outside the image."""
    y, x = round(shift[0]), round(shift[1])
    return [Mask(mask.y + y, mask.x + x, mask.bits) for mask in found]


def shared_area(
    before: Instances, after: Instances, shift: tuple[float, float]
) -> dict[tuple[int, int], int]:
    """Pixels that organoid i of ``before``, moved by ``shift``, shares with j of ``after``, where any."""
    masks = moved(before, shift)
    boxes = np.array([mask.box for mask in masks], np.int32).reshape(-1, 4)
    rows, columns, shared = pair_intersections(masks, after.masks, boxes, after.boxes)
    pairs = zip(rows.tolist(), columns.tolist(), shared.tolist(), strict=True)
    return {(i, j): count for i, j, count in pairs if count}


def _iou(
    before: Instances,
    after: Instances,
    shared: Mapping[tuple[int, int], int],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.float64]:
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    common = np.array([shared.get(pair, 0) for pair in pairs], np.float64)
    iou: NDArray[np.float64] = common / (before.areas[rows] + after.areas[columns] - common)
    return iou
