"""Which locations of the pyramid speak for which organoid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Mask
from organoseg.models.compact.layout import FINER, LEVELS, WINDOW
from organoseg.models.protocol import Target

#: Organoid sizes (square root of the area, px) a level answers for. Ranges overlap, so that an organoid near a
#: border is learnt by both levels and found by either.
SIZES = {8: (0.0, 64.0), 16: (44.0, 128.0), 32: (96.0, np.inf)}
MOST_LOCATIONS = 3
CENTRE_RADIUS = 0.22  # of the size: locations this near to the centre are positive
IGNORED_RADIUS = 0.40  # ... and up to here neither positive nor negative


@dataclass(frozen=True, eq=False)
class Assignment:
    """Targets of one level for a batch.

    Parameters
    ----------
    known
        float32 (B, h, w): weight of each location in the score loss; 0 where it is ignored.
    image, row, column
        int64 (K,): the positive locations.
    label
        int64 (K,): class channel of each.
    weight, confidence
        float32 (K,): from the :class:`~organoseg.models.protocol.Target`.
    masks
        float32 (K, 64, 64) in [0, 1]: share of each window cell that the organoid covers.
    inside
        float32 (K, 64, 64): 1 where the cell lies inside the image.
    owner
        For each positive location the image and the instance of its target.
    """

    known: NDArray[np.float32]
    image: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    label: NDArray[np.int64]
    weight: NDArray[np.float32]
    confidence: NDArray[np.float32]
    masks: NDArray[np.float32]
    inside: NDArray[np.float32]
    owner: tuple[tuple[int, int], ...] = ()


def middle_of(mask: Mask) -> tuple[float, float]:
    """The mask's pixel that is nearest to its centroid: a budding organoid's centroid may lie outside it."""
    rows, columns = np.nonzero(mask.bits)
    y, x = rows.mean(), columns.mean()
    if mask.bits[int(y), int(x)]:
        return mask.y + y + 0.5, mask.x + x + 0.5
    nearest = np.argmin((rows - y) ** 2 + (columns - x) ** 2)
    return mask.y + rows[nearest] + 0.5, mask.x + columns[nearest] + 0.5


def _window_target(mask: Mask, row: int, column: int, stride: int) -> NDArray[np.float32]:
    return window_mean(mask.bits, mask.y, mask.x, row, column, stride)


def window_mean(
    values: NDArray[Any], y: int, x: int, row: int, column: int, stride: int
) -> NDArray[np.float32]:
    """Mean over each cell of a location's window, float32 (64, 64), of ``values`` (h, w) with their corner at (y, x).

    Around them is 0.
    """
    cell = stride // FINER
    side = WINDOW * cell
    top = row * stride + stride // 2 - side // 2
    left = column * stride + stride // 2 - side // 2
    canvas = np.zeros((side, side), np.float32)
    y0, x0 = max(y - top, 0), max(x - left, 0)
    y1 = min(y - top + values.shape[0], side)
    x1 = min(x - left + values.shape[1], side)
    if y1 > y0 and x1 > x0:
        oy, ox = top - y, left - x
        canvas[y0:y1, x0:x1] = values[y0 + oy : y1 + oy, x0 + ox : x1 + ox]
    # The mean over cell x cell blocks, as strided sums: ten times as fast as reshaping, and exact for 0 and 1.
    total = np.zeros((WINDOW, WINDOW), np.float32)
    for i in range(cell):
        for j in range(cell):
            total += canvas[i::cell, j::cell]
    return total / np.float32(cell * cell)


def _window_inside(
    row: int, column: int, stride: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    cell = stride // FINER
    middle = FINER // 2 - WINDOW // 2
    rows = np.arange(WINDOW) + row * FINER + middle
    columns = np.arange(WINDOW) + column * FINER + middle
    good_rows = (rows >= 0) & (rows * cell < shape[0])
    good_columns = (columns >= 0) & (columns * cell < shape[1])
    return np.outer(good_rows, good_columns).astype(np.float32)


def _centres(
    mask: Mask, stride: int, size: tuple[int, int]
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Rows, columns and distances (px) of all locations, and whether each lies inside the mask."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    y = rows * stride + stride // 2
    x = columns * stride + stride // 2
    my, mx = middle_of(mask)
    distance = np.hypot(y - my, x - mx)
    inside = np.zeros(size, bool)
    iy, ix = y - mask.y, x - mask.x
    good = (iy >= 0) & (ix >= 0) & (iy < mask.bits.shape[0]) & (ix < mask.bits.shape[1])
    inside[good] = mask.bits[iy[good], ix[good]]
    return rows, columns, distance, inside


def _claim(mask: Mask, stride: int, grid: tuple[int, int]) -> tuple[list[tuple[int, int]], NDArray]:
    """Positive locations of one organoid (nearest first), and the ring that is ignored around them."""
    size = float(np.sqrt(mask.area))
    _, _, distance, inside = _centres(mask, stride, grid)
    near = distance <= max(CENTRE_RADIUS * size, 0.75 * stride)
    candidates = np.flatnonzero(near & inside)
    if candidates.size == 0:  # slimmer than the grid: the nearest location speaks for it
        candidates = np.array([np.argmin(distance)])
    order = np.argsort(distance.ravel()[candidates], kind="stable")[:MOST_LOCATIONS]
    chosen = [divmod(int(i), grid[1]) for i in candidates[order]]
    ring = (distance <= max(IGNORED_RADIUS * size, 1.25 * stride)) & (inside | near)
    return chosen, ring


def assign(
    targets: Sequence[Target], stride: int, shape: tuple[int, int], classes: Sequence[int]
) -> Assignment:
    """Targets of level ``stride`` for a batch of images of one shape.

    A location claimed by two overlapping organoids goes to the one whose centre is nearer, and each keeps its
    other locations.
    """
    coarse = [target.stride for target in targets if target.stride != 1]
    if coarse:
        raise DataError(
            f"masks on a grid of {coarse[0]} px; the compact engine learns from masks of the image's own grid"
        )
    grid = (-(-shape[0] // stride), -(-shape[1] // stride))
    known = np.ones((len(targets), *grid), np.float32)
    low, high = SIZES[stride]
    found: list[tuple[int, int, int, int, float, float]] = []
    masks, inside = [], []
    owners: list[tuple[int, int]] = []
    channel = {c: i for i, c in enumerate(classes)}
    for b, target in enumerate(targets):
        known[b] = target.background_weight
        owner: dict[tuple[int, int], tuple[int, int]] = {}
        for i, mask in enumerate(target.instances.masks):
            if target.ignored[i]:
                known[b][_centres(mask, stride, grid)[3]] = 0
                continue
            if not low <= np.sqrt(mask.area) < high:
                continue
            chosen, ring = _claim(mask, stride, grid)
            known[b][ring] = 0
            for rank, place in enumerate(chosen):
                if place not in owner or rank < owner[place][0]:
                    owner[place] = (rank, i)
        for (row, column), (_, i) in owner.items():
            weight = float(target.weights[i])
            # Doubt is in the soft score; a weight below 1 here would let the doubtful score what it likes.
            known[b, row, column] = 1
            found.append((b, row, column, channel[int(target.instances.classes[i])], weight,
                          float(target.confidence[i])))  # fmt: skip
            owners.append((b, i))
            masks.append(_window_target(target.instances.masks[i], row, column, stride))
            inside.append(_window_inside(row, column, stride, shape))
    table = np.array(found, np.float64).reshape(-1, 6)
    whole = table[:, :4].astype(np.int64)
    empty = np.zeros((0, WINDOW, WINDOW), np.float32)
    return Assignment(
        known=known,
        image=whole[:, 0], row=whole[:, 1], column=whole[:, 2], label=whole[:, 3],
        weight=table[:, 4].astype(np.float32), confidence=table[:, 5].astype(np.float32),
        masks=np.stack(masks) if masks else empty,
        inside=np.stack(inside) if inside else empty,
        owner=tuple(owners),
    )  # fmt: skip


def levels_of(size: float) -> list[int]:
    """Levels that answer for an organoid of this size (square root of the area, px)."""
    return [s for s in LEVELS if SIZES[s][0] <= size < SIZES[s][1]]
