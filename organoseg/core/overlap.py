"""What masks share: intersections, overlap, non-maximum suppression and rendering."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from organoseg.core.mask import Mask

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

# Boxes compared at once: bounds the memory of the comparison, not the number of masks.
_BLOCK = 4_000_000


def touching(
    a: NDArray[np.int32], b: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices (K,), (K,) of the pairs of boxes (N, 4), (M, 4) that share a pixel, row by row."""
    rows, columns = [], []
    step = max(1, _BLOCK // max(1, len(b)))
    for start in range(0, len(a), step):
        y0, x0, y1, x1 = a[start : start + step].T[:, :, None]
        meet = (y0 < b[:, 2]) & (b[:, 0] < y1)
        meet &= x0 < b[:, 3]
        meet &= b[:, 1] < x1
        i, j = np.nonzero(meet)
        rows.append(i + start)
        columns.append(j)
    none = np.zeros(0, np.int64)
    return np.concatenate([none, *rows]), np.concatenate([none, *columns])


def shared_pixels(a: Mask, b: Mask) -> int:
    """Number of pixels in both masks."""
    ay, ax, (ah, aw) = a.y, a.x, a.bits.shape
    by, bx, (bh, bw) = b.y, b.x, b.bits.shape
    top, bottom = max(ay, by), min(ay + ah, by + bh)
    left, right = max(ax, bx), min(ax + aw, bx + bw)
    if top >= bottom or left >= right:
        return 0
    first = a.bits[top - ay : bottom - ay, left - ax : right - ax]
    second = b.bits[top - by : bottom - by, left - bx : right - bx]
    return int(np.count_nonzero(first & second))


def pair_intersections(
    a: Sequence[Mask], b: Sequence[Mask], boxes_a: NDArray[np.int32], boxes_b: NDArray[np.int32]
) -> Pairs:
    """(i, j, shared pixels) of the pairs whose boxes meet: the sparse form of `intersection`."""
    rows, columns = touching(boxes_a, boxes_b)
    return rows, columns, _count(a, b, rows, columns)


def close_pairs(
    a: Sequence[Mask],
    b: Sequence[Mask],
    boxes: tuple[NDArray[np.int32], NDArray[np.int32]],
    areas: tuple[NDArray[np.int64], NDArray[np.int64]],
    iou: float,
) -> Pairs:
    """As `pair_intersections`, without pairs whose boxes and areas rule out an IoU of `iou`.

    Two masks share at most what their boxes share and at most the smaller of them. Nearly all pairs
    go by that, and counting pixels is what takes the time.
    """
    rows, columns = touching(*boxes)
    first, second = boxes[0][rows].astype(np.int64), boxes[1][columns].astype(np.int64)
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    area_a, area_b = areas[0][rows], areas[1][columns]
    most = np.minimum(np.minimum(area_a, area_b), sides.prod(1))
    near = most >= iou * (area_a + area_b - most)
    rows, columns = rows[near], columns[near]
    return rows, columns, _count(a, b, rows, columns)


def _count(
    a: Sequence[Mask], b: Sequence[Mask], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.int64]:
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    if a is not b:
        return np.fromiter((shared_pixels(a[i], b[j]) for i, j in pairs), np.int64, len(rows))
    half = {(i, j): shared_pixels(a[i], a[j]) for i, j in pairs if i < j}
    each = zip(rows.tolist(), columns.tolist(), strict=True)
    return np.fromiter(
        (a[i].area if i == j else half[min(i, j), max(i, j)] for i, j in each), np.int64, len(rows)
    )


def coverage(shape: tuple[int, int], masks: Sequence[Mask]) -> NDArray[np.uint32]:
    """How many masks cover each pixel, (H, W)."""
    counts = np.zeros(shape, np.uint32)
    for mask in masks:
        y0, x0, y1, x1 = mask.box
        counts[y0:y1, x0:x1] += mask.bits
    return counts


def covered_by_others(shape: tuple[int, int], masks: Sequence[Mask]) -> NDArray[np.int64]:
    """For each mask (N,), the number of its pixels that at least one other mask covers too."""
    counts = coverage(shape, masks)
    shared = np.zeros(len(masks), np.int64)
    for index, mask in enumerate(masks):
        y0, x0, y1, x1 = mask.box
        shared[index] = np.count_nonzero((counts[y0:y1, x0:x1] > 1) & mask.bits)
    return shared


def suppress(
    order: NDArray[np.int64], areas: NDArray[np.int64], pairs: Pairs, iou: float
) -> NDArray[np.bool_]:
    """Greedy non-maximum suppression: bool (N,), True where an instance is kept.

    order: indices from the best to the worst; pairs: intersections of the set with itself. An
    instance goes when its IoU with a better one that is kept is above `iou`.
    """
    rows, columns, shared = pairs
    clash = (rows != columns) & (shared > iou * (areas[rows] + areas[columns] - shared))
    rivals: dict[int, list[int]] = {}
    for i, j in zip(rows[clash].tolist(), columns[clash].tolist(), strict=True):
        rivals.setdefault(i, []).append(j)
    kept = np.zeros(len(order), np.bool_)
    for index in order.tolist():
        kept[index] = not any(kept[j] for j in rivals.get(index, ()))
    return kept


def paint(
    shape: tuple[int, int],
    masks: Sequence[Mask],
    values: NDArray[np.int64],
    order: NDArray[np.int64],
) -> NDArray[np.uint32]:
    """Label image (H, W): masks painted in `order`, so that the last one wins a shared pixel."""
    canvas = np.zeros(shape, np.uint32)
    for index in order.tolist():
        y0, x0, y1, x1 = masks[index].box
        canvas[y0:y1, x0:x1][masks[index].bits] = values[index]
    return canvas
