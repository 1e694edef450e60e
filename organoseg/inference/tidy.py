"""Masks without what a network leaves around them: stray pixels and holes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from organoseg.core import Instances, Mask

#: Pieces of a mask below this share of its largest one are strays; a larger one may be a half seen behind another.
STRAY = 0.1
# Pixels that touch at a corner belong together.
_NEIGHBOURS = np.ones((3, 3), np.int8)


def tidy(instances: Instances) -> Instances:
    """The same organoids, each without stray pieces and with its holes filled.

    A mask is that of a whole organoid, and those are solid; pieces from a tenth of the largest one on stay. A mask
    that has neither is the same object.
    """
    masks = tuple(tidied(mask) for mask in instances.masks)
    if all(new is old for new, old in zip(masks, instances.masks, strict=True)):
        return instances
    return instances.replace(masks=masks)


def tidied(mask: Mask) -> Mask:
    """One mask (see `tidy`)."""
    # Holes first: then a second time changes nothing.
    bits = ndimage.binary_fill_holes(mask.bits)
    pieces, count = ndimage.label(bits, _NEIGHBOURS)
    if count > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        bits = (sizes >= STRAY * sizes.max())[pieces]
    if np.array_equal(bits, mask.bits):
        return mask
    found = Mask.from_bits(bits, mask.y, mask.x)
    return mask if found is None else found  # never None: the largest piece stays
