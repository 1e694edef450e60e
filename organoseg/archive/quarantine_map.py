"""Which cells lie over a chunk in quarantine."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from organoseg.archive.manifest import ArrayRef, Cells, Manifest
from organoseg.archive.projection import Views

_NUMBERS = re.compile(r"\d+")


def box_of(array: ArrayRef, chunk: str) -> dict[str, tuple[int, int]] | None:
    """From and to along each axis of the pixels that a chunk holds; None for a name that says nothing.

    ``chunk`` is a key such as ``c/0/3/1`` (the whole file, a shard with all its chunks), or a key and the chunk's
    coordinates among the inner chunks of the array, ``c/0/0/0 [0, 3, 1]``.
    """
    key, _, inner = chunk.partition("[")
    numbers, sizes = _NUMBERS.findall(key), array.stored
    if inner:
        numbers, sizes = _NUMBERS.findall(inner), array.chunks
    if len(numbers) != len(array.axes):
        return None
    return {
        axis: (int(n) * size, (int(n) + 1) * size)
        for axis, n, size in zip(array.axes, numbers, sizes, strict=True)
    }


def cells_hit(manifest: Manifest, views: Views, cells: Cells) -> NDArray[np.bool_]:
    """Cells (their ``plane`` is a view) over a chunk in quarantine; an unknown name costs the whole array."""
    hit = np.zeros(len(cells), bool)
    if not manifest.quarantine:
        return hit
    at = {(a.url, a.path): number for number, a in enumerate(manifest.arrays)}
    planes = manifest.planes
    view_array = planes.array[views.plane]
    by_array = np.argsort(view_array, kind="stable")
    for lost in manifest.quarantine:
        number = at.get((lost.url, lost.path))
        if number is None:
            continue
        low, high = np.searchsorted(view_array[by_array], [number, number + 1])
        box = box_of(manifest.arrays[number], lost.chunk)
        for view in by_array[low:high].tolist():
            rows = slice(*np.searchsorted(cells.plane, [view, view + 1]))
            hit[rows] |= _over(box, manifest, views.stack(view), cells, rows)
    return hit


def _over(
    box: dict[str, tuple[int, int]] | None,
    manifest: Manifest,
    stack: NDArray[np.int64],
    cells: Cells,
    rows: slice,
) -> NDArray[np.bool_]:
    y, x = cells.y[rows], cells.x[rows]
    over = np.ones(len(y), bool)
    if box is None:
        return over
    inside = np.ones(len(stack), bool)
    for axis in "tcz":
        if axis in box:
            place = getattr(manifest.planes, axis)[stack]
            inside &= (place >= box[axis][0]) & (place < box[axis][1])
    over &= bool(inside.any())
    over &= (y < box["y"][1]) & (y + cells.height[rows] > box["y"][0])
    over &= (x < box["x"][1]) & (x + cells.width[rows] > box["x"][0])
    return over
