"""One mask from several drawings of the same organoid."""

from collections.abc import Sequence

import numpy as np

from organoseg.core.mask import Mask


def vote(masks: Sequence[Mask], weights: Sequence[float]) -> Mask | None:
    """The pixels for which more than half of the weight votes; None where no pixel wins.

    Drawings of one organoid err at different places of its edge, so their majority errs less.
    masks: at least one, of one image; weights: one a mask, not negative.
    """
    if len(masks) == 1:
        return masks[0]
    boxes = np.array([mask.box for mask in masks])
    top, left = boxes[:, :2].min(0).tolist()
    bottom, right = boxes[:, 2:].max(0).tolist()
    votes = np.zeros((bottom - top, right - left), np.float64)
    for mask, weight in zip(masks, weights, strict=True):
        y0, x0, y1, x1 = mask.box
        votes[y0 - top : y1 - top, x0 - left : x1 - left] += weight * mask.bits
    return Mask.from_bits(votes > sum(weights) / 2, top, left)
