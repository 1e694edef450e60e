"""An order in which every beginning stands for the whole: each image that is taken speaks for those that look like it.

What a model doubts most is often what nobody can tell: to learn from such images alone made models worse than to
learn from any (docs/benchmarks.md, review-loop). What helps is a sample that covers what there is. The order is the
greedy one of a facility location (Nemhauser, Wolsey and Fisher 1978) with costs: each next image is the one that adds
most, for what its review takes, to the sum, over all images, of how alike the most alike taken one is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances

Values = NDArray[np.float64]

#: So many images at most are stood for; of larger collections a sample of this size speaks for the rest.
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


def covering_order(
    looks: Sequence[Sequence[float]], counts: Values, costs: Values | None = None
) -> list[int]:
    """Indices of all images, the one that stands for most, for its cost, first.

    Parameters
    ----------
    looks
        A description of each image, N of F numbers.
    counts
        float64 (N,), >= 0: how much it matters that an image is stood for. All zero: all alike.
    costs
        float64 (N,), > 0: what a review of each takes, in any unit. None: all alike.
    """
    n = len(looks)
    prices = np.ones(n) if costs is None else costs
    if n < 3:
        return [int(i) for i in np.argsort(-counts / prices, kind="stable")]
    table = _standardised(np.asarray(looks, np.float64))
    # Drawn, not every so-manieth: names come in the order of wells and channels.
    chosen = np.sort(np.random.default_rng(0).permutation(n)[:MOST])
    alike = _alike(table[chosen], table)
    share = counts[chosen] if counts[chosen].any() else np.ones(len(chosen))
    return _greedy(alike, share, prices)


def _standardised(table: Values) -> Values:
    spread = table.std(axis=0)
    known: Values = (table - table.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    clipped: Values = np.clip(known, -3, 3)
    return clipped


def _alike(landmarks: Values, table: Values) -> Values:
    """Likeness 0 to 1 of each landmark (L) and each image (N): a Gaussian as wide as half the middle distance."""
    squared = (
        (landmarks**2).sum(1)[:, None] + (table**2).sum(1)[None] - 2 * landmarks @ table.T
    ).clip(0)
    width = max(float(np.median(squared)) / 4, 1e-9)
    likeness: Values = np.exp(-squared / (2 * width))
    return likeness


def _greedy(alike: Values, share: Values, prices: Values) -> list[int]:
    """Each next image is the one that adds most. What an image would add only falls, so few are looked at again."""
    import heapq

    best = np.zeros(len(share))
    first = share @ alike / prices
    heap = [(-float(gain), index) for index, gain in enumerate(first)]
    heapq.heapify(heap)
    order: list[int] = []
    while heap:
        _, index = heapq.heappop(heap)
        gain = float(share @ np.maximum(alike[:, index] - best, 0.0) / prices[index])
        if heap and (-gain, index) > heap[0]:
            heapq.heappush(heap, (-gain, index))
            continue
        order.append(index)
        np.maximum(best, alike[:, index], out=best)
    return order
