"""The set criterion of Mask2Former, with doubtful and ignored organoids.

Cheng et al. 2022, "Masked-attention Mask Transformer for Universal Image Segmentation", 3.3 and appendix. Where every
organoid is certain and none is ignored it is the library's own loss (a test says so). Beyond that:

- the mask terms of a pair are multiplied by the organoid's ``weight``;
- an organoid of ``confidence`` c is one with the chance c and none with the chance 1 - c, and the class term is the
  expected one;
- an unmatched query whose mask overlaps an ignored organoid costs nothing;
- ``background_weight`` multiplies the class term of an image's unmatched queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from organoseg.models.mask2former import points
from organoseg.models.mask2former.matching import Matches, match
from organoseg.models.mask2former.network import Predictions
from organoseg.models.mask2former.options import Mask2FormerOptions
from organoseg.models.mask2former.targets import PackedTargets

#: Random points that are drawn at once; bounds the memory of crowded batches.
POINTS_AT_ONCE = 1 << 25


@dataclass(frozen=True, eq=False)
class LayerLosses:
    """Weighted terms of each layer, (L,) each; the last layer is the network's answer."""

    classes: Tensor
    mask: Tensor
    dice: Tensor


def _class_sums(
    predictions: Predictions, targets: PackedTargets, found: Matches, none: float
) -> Tensor:
    """Weighted cross entropy summed over images and queries, (L,)."""
    log = predictions.classes.float().log_softmax(-1)
    last = log.shape[-1] - 1
    empty = none * targets.background[None, :, None] * ~found.spared
    object_weight = torch.zeros_like(empty)
    label = torch.zeros(empty.shape, dtype=torch.int64, device=log.device)
    at = (found.layer, found.image, found.query)
    confidence = targets.confidence[found.target]
    object_weight[at] = confidence
    empty[at] = none * (1 - confidence)
    label[at] = targets.labels[found.target]
    chosen = log.gather(-1, label[..., None])[..., 0]
    return -(object_weight * chosen + empty * log[..., last]).sum((1, 2))


def _groups(found: Matches, drawn: int) -> Iterator[list[tuple[int, int, int]]]:
    """Pairs in groups that draw at most `POINTS_AT_ONCE` points: lists of (image, first, last) pairs."""
    most = max(POINTS_AT_ONCE // drawn, 1)
    group: list[tuple[int, int, int]] = []
    room = most
    for image in np.unique(found.images).tolist():
        first, end = (int(i) for i in np.searchsorted(found.images, (image, image + 1)))
        while first < end:
            last = min(first + room, end)
            group.append((image, first, last))
            room -= last - first
            first = last
            if room == 0:
                yield group
                group, room = [], most
    if group:
        yield group


def _pair_terms(
    masks: Tensor,
    targets: PackedTargets,
    index: Tensor,
    options: Mask2FormerOptions,
    extent: Tensor,
) -> Tensor:
    """Cross entropy and dice, (2, M), of mask logits (M, h, w) and the organoids ``index``."""
    with torch.autocast(masks.device.type, enabled=False):
        masks = masks.float()
        where = points.uncertain(
            masks.detach(), options.points, options.oversample, options.importance, extent
        )
        truth = targets.sample(index, where)
        logits = points.sample(masks, where * extent)
        pixel = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1)
        inside = logits.sigmoid()
        both = 2 * (inside * truth).sum(1)
        dice = 1 - (both + 1) / (inside.sum(1) + truth.sum(1) + 1)
        return torch.stack((pixel, dice))


def _mask_sums(
    predictions: Predictions,
    targets: PackedTargets,
    found: Matches,
    options: Mask2FormerOptions,
    extent: Tensor,
    checkpointing: bool,
) -> Tensor:
    """Mask terms of all pairs, weighted, summed a layer: (2, L)."""
    layers, batch, queries, width = predictions.embeddings.shape
    # Also without an organoid every parameter has a gradient: several processes wait for each other's.
    either = [x.reshape(-1)[0].float() for x in (predictions.embeddings, predictions.features)]
    nothing = 0 * (either[0] + either[1])
    total = nothing.expand(2, layers)
    flat = (found.layer * batch + found.image) * queries + found.query
    embeddings = predictions.embeddings.reshape(-1, width)
    features = predictions.features
    for group in _groups(found, int(options.points * options.oversample)):
        parts = []
        for image, first, last in group:
            chosen = embeddings.index_select(0, flat[first:last])
            masks = chosen @ features[image].flatten(1)
            parts.append(masks.view(-1, *features.shape[2:]))
        pairs = slice(group[0][1], group[-1][2])
        index = found.target[pairs]
        inputs = (torch.cat(parts), targets, index, options, extent)
        if checkpointing and torch.is_grad_enabled():
            terms = checkpoint(_pair_terms, *inputs, use_reentrant=False)
        else:
            terms = _pair_terms(*inputs)
        total = total.index_add(1, found.layer[pairs], terms * targets.weight[index])
    return total


def set_losses(
    predictions: Predictions,
    targets: PackedTargets,
    options: Mask2FormerOptions,
    extent: Tensor,
    divisors: Tensor,
    checkpointing: bool = False,
) -> LayerLosses:
    """Losses of every layer.

    Parameters
    ----------
    extent
        (2,): the share of the features' width and height that is image; the rest is padding.
    divisors
        float32 (2,): what the mask terms and the class term are divided by; see `targets.divisors`.

    Raises
    ------
    RunError
        A prediction is not finite.
    """
    found = match(predictions, targets, options, extent)
    cost = _class_sums(predictions, targets, found, options.no_object_weight)
    masks = _mask_sums(predictions, targets, found, options, extent, checkpointing)
    return LayerLosses(
        classes=options.class_weight * cost / divisors[1],
        mask=options.mask_weight * masks[0] / divisors[0],
        dice=options.dice_weight * masks[1] / divisors[0],
    )
