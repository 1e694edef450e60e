"""An order in which every beginning is a fair picture of the whole.

What a model doubts most is often what nobody can tell: to learn from such images alone made models worse than to learn
from any (docs/benchmarks.md, review-loop). What helps is a sample that is like the whole, more so than chance makes it.
The order is that of kernel herding (Chen, Welling and Smola 2010, "Super-samples from kernel herding"): each next image
is the one that is most like all images, and least like those that were taken. An image in doubt counts for more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances

Values = NDArray[np.float64]

#: The whole is described by so many images at most; of larger collections, by a sample of this size.
MOST = 2000


def grey_look(pixels: NDArray[np.generic]) -> tuple[float, ...]:
    """Of a plane (H, W): where its greys lie, and how strong detail of 1, 4 and 16 px is over its own contrast."""
    step = max(1, min(pixels.shape) // 512)
    plane = np.asarray(pixels[::step, ::step], np.float64)
    low, middle, high = np.percentile(plane, (1, 50, 99))
    reach = max(high - low, 1e-9)
    details = []
    for size in (1, 4, 16):
        coarse = _means(plane, size)
        if min(coarse.shape) < 2:
            details.append(0.0)
            continue
        change = np.abs(np.diff(coarse, axis=0)).mean() + np.abs(np.diff(coarse, axis=1)).mean()
        details.append(float(np.log(change / reach + 1e-4)))
    contrast = float(np.log(reach / max(abs(middle), 1e-9) + 1e-3))
    return (float((middle - low) / reach), contrast, *details)


def _means(plane: Values, size: int) -> Values:
    height, width = (s // size * size for s in plane.shape)
    blocks = plane[:height, :width].reshape(height // size, size, width // size, size)
    means: Values = blocks.mean(axis=(1, 3))
    return means


def content_look(instances: Instances) -> tuple[float, ...]:
    """Of what was found: how many a megapixel, how large, how unlike in size, how much of the image, how sure."""
    pixels = float(np.prod(instances.shape))
    if not len(instances):
        return (0.0, 0.0, 0.0, 0.0, 0.0)
    areas = np.log(np.maximum(instances.areas, 1).astype(np.float64))
    return (
        float(np.log1p(len(instances) / pixels * 1e6)),
        float(areas.mean()),
        float(areas.std()),
        float(np.log1p(100 * instances.areas.sum() / pixels)),
        float(instances.scores.mean()),
    )


def covering_order(looks: Sequence[Sequence[float]], counts: Values) -> list[int]:
    """Indices of all images; the first n, whatever n, are as like the whole as n images can be, greedily.

    Parameters
    ----------
    looks
        A description of each image, N of F numbers.
    counts
        float64 (N,), >= 0: how much of the whole each image is. All zero: all alike.
    """
    n = len(looks)
    if n < 3:
        return [int(i) for i in np.argsort(-counts, kind="stable")]
    table = _standardised(np.asarray(looks, np.float64))
    chosen = np.linspace(0, n - 1, min(n, MOST)).astype(int)
    share = counts[chosen] if counts[chosen].any() else np.ones(len(chosen))
    squared = _squared(table[chosen], table)
    width = max(float(np.median(squared)) / 4, 1e-9)
    whole = share @ np.exp(-squared / (2 * width)) / share.sum()
    return _herded(table, whole, width)


def _standardised(table: Values) -> Values:
    spread = table.std(axis=0)
    known: Values = (table - table.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    clipped: Values = np.clip(known, -3, 3)
    return clipped


def _squared(some: Values, table: Values) -> Values:
    """Squared distances of L looks to all N, (L, N)."""
    distances: Values = (
        (some**2).sum(1)[:, None] + (table**2).sum(1)[None] - 2 * some @ table.T
    ).clip(0)
    return distances


def _herded(table: Values, whole: Values, width: float) -> list[int]:
    """``whole`` (N,): how like each image is to all of them."""
    taken = np.zeros(len(table))
    open_ = np.ones(len(table), bool)
    order: list[int] = []
    for count in range(1, len(table) + 1):
        worth = np.where(open_, whole - taken / count, -np.inf)
        index = int(np.argmax(worth))
        open_[index] = False
        order.append(index)
        taken += np.exp(-_squared(table[index : index + 1], table)[0] / (2 * width))
    return order
