"""One organoid into several: along a line that was erased, or at its waist. No Qt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Mask, UsageError

#: Crumbs that an eraser leaves are no organoids.
_LEAST = 12
#: A waist is a place where the body is narrower than this share of the thinner half.
_NARROW = 0.85


def split(mask: Mask, before: Mask | None = None) -> list[Mask]:
    """The pieces of ``mask``, the largest first.

    In several pieces already (somebody erased a line through it): those, and the erased line, which is the part of
    ``before`` that is gone between them, goes to the nearest piece. In one piece: cut at its waist.

    Raises UsageError where there is no waist.
    """
    from scipy.ndimage import label

    pieces, count = label(mask.bits)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    large = [n for n in range(1, count + 1) if sizes[n] >= _LEAST]
    if len(large) > 1:
        parts = np.where(np.isin(pieces, large), pieces, 0)
        if before is not None:
            return _collect(*_give_back(parts, mask, before))
        return _collect(parts, mask.y, mask.x)
    return _collect(_waist(mask), mask.y, mask.x)


def _give_back(
    parts: NDArray[np.int32], mask: Mask, before: Mask
) -> tuple[NDArray[np.int32], int, int]:
    """Pixels of the erased line to the nearest piece: the cut has no width."""
    from scipy.ndimage import binary_dilation, distance_transform_edt, label

    y0, x0 = min(mask.y, before.y), min(mask.x, before.x)
    y1, x1 = max(mask.box[2], before.box[2]), max(mask.box[3], before.box[3])
    whole = np.zeros((y1 - y0, x1 - x0), np.int32)
    old = np.zeros(whole.shape, bool)
    whole[mask.y - y0 : mask.box[2] - y0, mask.x - x0 : mask.box[3] - x0] = parts
    old[before.y - y0 : before.box[2] - y0, before.x - x0 : before.box[3] - x0] = before.bits
    gone = old & (whole == 0)
    # The cut is what is gone and touches two pieces; what was erased elsewhere was meant to go.
    nearest = distance_transform_edt(whole == 0, return_distances=False, return_indices=True)
    regions, count = label(gone, np.ones((3, 3)))
    for number in range(1, count + 1):
        region = regions == number
        around = np.unique(whole[binary_dilation(region, np.ones((3, 3)))])
        if np.count_nonzero(around) > 1:
            whole[region] = whole[nearest[0], nearest[1]][region]
    return whole, y0, x0


def _waist(mask: Mask) -> NDArray[np.int32]:
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    bits = np.pad(mask.bits, 1)
    depth = distance_transform_edt(bits)
    smooth = gaussian_filter(depth, 1.0) * bits
    apart = max(2, int(0.5 * np.sqrt(mask.area / np.pi)))
    peaks = peak_local_max(smooth, min_distance=apart, labels=bits.astype(np.int32), num_peaks=2)
    if len(peaks) == 2:
        seeds = np.zeros(bits.shape, np.int32)
        seeds[tuple(peaks.T)] = 1, 2
        parts: NDArray[np.int32] = watershed(-smooth, seeds, mask=bits)
        if _narrow(parts, depth, [float(smooth[tuple(p)]) for p in peaks]):
            return parts[1:-1, 1:-1]
    raise UsageError(
        "It has no waist to be cut at",
        remedy="Erase a line through it (key 1 is the eraser), then split again",
    )


def _narrow(parts: NDArray[np.int32], depth: NDArray[np.float64], heights: list[float]) -> bool:
    """Whether the two halves meet where the body is clearly thinner than both."""
    from scipy.ndimage import binary_dilation

    seam = binary_dilation(parts == 1) & (parts == 2)
    return bool(seam.any()) and float(depth[seam].max()) < _NARROW * min(heights)


def _collect(parts: NDArray[np.int32], y: int, x: int) -> list[Mask]:
    made = [Mask.from_bits(parts == n, y, x) for n in np.unique(parts[parts > 0])]
    return sorted((m for m in made if m is not None), key=lambda m: -m.area)
