"""One COCO segmentation into one mask, with every fault it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from organoseg.core import DataError, Mask
from organoseg.core.coding import polygons_to_mask, rle_to_mask
from organoseg.io.coco_models import CocoRle

# Annotation tools put the right and lower edge at the image's size, or up to a pixel past it.
_EDGE_TOLERANCE = 1.0


@dataclass(frozen=True)
class Decoded:
    """``mask`` is None where nothing is left of it; ``faults`` say what is wrong.

    ``repaired`` tells whether ``mask`` (or its absence) is a sensible reading in spite of them.
    """

    mask: Mask | None
    faults: tuple[str, ...] = ()
    repaired: bool = True


def decode(segmentation: list[list[float]] | CocoRle, shape: tuple[int, int]) -> Decoded:
    """The mask of ``segmentation`` in an image of ``shape`` (height, width)."""
    faults: list[str] = []
    try:
        if isinstance(segmentation, CocoRle):
            mask = rle_to_mask(segmentation.model_dump(), shape)
        else:
            whole = [part for part in segmentation if _usable(part, shape, faults)]
            if not whole:
                return Decoded(None, tuple(faults) or ("empty segmentation",))
            mask = polygons_to_mask(whole, shape)
    except DataError as error:
        return Decoded(None, (*faults, _as_kind(error)), repaired=False)
    if mask is None:
        faults.append("mask without a pixel")
    return Decoded(mask, tuple(faults))


def _usable(polygon: Sequence[float], shape: tuple[int, int], faults: list[str]) -> bool:
    if len(polygon) < 6 and len(polygon) % 2 == 0:
        faults.append("polygon of fewer than 3 points" if polygon else "empty polygon")
        return False
    for values, size in ((polygon[0::2], shape[1]), (polygon[1::2], shape[0])):
        bounds = np.asarray(values)
        if bounds.min() < -_EDGE_TOLERANCE or bounds.max() > size + _EDGE_TOLERANCE:
            faults.append("polygon out of bounds")
            break
    return True


def _as_kind(error: DataError) -> str:
    return error.what[:1].lower() + error.what[1:]
