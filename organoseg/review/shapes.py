"""Cutting one mask into several: along a drawn line, or at its necks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from organoseg.core import Mask, UsageError

# A bump of the distance to the edge counts as an organoid of its own when the neck is this much slimmer.
_NECK = 0.25


def cut_along(mask: Mask, points: ArrayLike) -> list[Mask]:
    """The parts of ``mask`` on the sides of a drawn line, largest first; ``[mask]`` when it does not part it.

    points: float (N, 2), rows y and columns x in the image, N >= 2. The line's own pixels go to the nearest part, so no
    pixel is lost. UsageError for fewer than two points or ones that are not numbers.
    """
    from scipy import ndimage

    line = np.asarray(points, np.float64)
    if line.ndim != 2 or line.shape[0] < 2 or line.shape[1] != 2 or not np.isfinite(line).all():
        raise UsageError(
            "A cut needs a line of at least two points", remedy="Draw it across the organoid."
        )
    cut = _draw(line - (mask.y, mask.x), mask.bits.shape)
    before = ndimage.label(mask.bits)[1]
    labels, count = ndimage.label(mask.bits & ~cut)
    if count <= before:
        return [mask]
    return _parts(mask, _grown(labels, mask.bits))


def split_touching(mask: Mask) -> list[Mask]:
    """The organoids that touch within ``mask``, parted at its necks, largest first; ``[mask]`` when it has none."""
    from scipy import ndimage
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    padded = np.pad(mask.bits, 1)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(padded), 1.0)
    peaks = h_maxima(depth, max(_NECK * float(depth.max()), 0.5))  # type: ignore[no-untyped-call]
    seeds, count = ndimage.label(peaks & padded, np.ones((3, 3)))
    if count < 2:
        return [mask]
    basins = watershed(-depth, seeds, mask=padded)  # type: ignore[no-untyped-call]
    return _parts(mask, basins[1:-1, 1:-1])


def union(masks: Sequence[Mask]) -> Mask:
    """All pixels of some masks; UsageError when there is none."""
    if not masks:
        raise UsageError("There is nothing to merge")
    boxes = np.array([m.box for m in masks])
    (top, left), (bottom, right) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    bits = np.zeros((bottom - top, right - left), np.bool_)
    for m in masks:
        y0, x0, y1, x1 = m.box
        bits[y0 - top : y1 - top, x0 - left : x1 - left] |= m.bits
    return Mask(int(top), int(left), bits)


def _draw(line: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels of a polyline, without gaps that a 4-connected part could slip through."""
    from skimage.draw import line as pixels_between

    cut = np.zeros(shape, np.bool_)
    corners = np.floor(line).astype(np.int64)
    for (y0, x0), (y1, x1) in zip(corners[:-1].tolist(), corners[1:].tolist(), strict=True):
        rows, columns = pixels_between(y0, x0, y1, x1)  # type: ignore[no-untyped-call]
        inside = (rows >= 0) & (columns >= 0) & (rows < shape[0]) & (columns < shape[1])
        cut[rows[inside], columns[inside]] = True
    return cut


def _grown(labels: NDArray[np.int32], bits: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Every pixel of ``bits`` with the label nearest to it."""
    from scipy import ndimage

    rows, columns = ndimage.distance_transform_edt(
        labels == 0, return_distances=False, return_indices=True
    )
    nearest: NDArray[np.int32] = np.where(bits, labels[rows, columns], 0)
    return nearest


def _parts(mask: Mask, labels: NDArray[np.int32]) -> list[Mask]:
    found = [Mask.from_bits(labels == n, mask.y, mask.x) for n in np.unique(labels) if n]
    return sorted((m for m in found if m is not None), key=lambda m: -m.area)
