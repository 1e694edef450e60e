"""Loss of the compact engine: quality focal score, dice and cross entropy of the masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from organoseg.models.compact.assignment import Assignment, assign
from organoseg.models.compact.imitate import imitation_terms
from organoseg.models.compact.layout import LEVELS
from organoseg.models.compact.network import CompactNetwork, draw_masks
from organoseg.models.imitation import Imitation
from organoseg.models.protocol import FeatureSpread, Target

SCORE_WEIGHT, DICE_WEIGHT, PIXEL_WEIGHT = 2.0, 2.0, 0.5
#: Score target of a positive whose mask is still poor; without it early positives would vanish.
QUALITY_FLOOR = 0.2


def quality_focal(logits: Tensor, quality: Tensor, spread: Tensor | None = None) -> Tensor:
    """|q - p|^2 times the cross entropy of p against the soft label q (Li et al. 2020, eq. 5, beta 2).

    ``spread``: the cross entropy is the bound of that of features that vary by so much (``distill``'s
    ``feature_augmentation`` derives it).
    """
    distance = (quality - logits.sigmoid()).abs().square()
    if spread is None:
        entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    else:
        entropy = quality * F.softplus(spread - logits) + (1 - quality) * F.softplus(
            spread + logits
        )
    return distance * entropy


def _spread(
    spread: FeatureSpread, features: Tensor, weights: Tensor, a: Mapping[str, Tensor]
) -> Tensor:
    """(B, classes, h, w): how far the logits of each place move, by the class that the place has."""
    nothing = weights.shape[0]
    known = a["known"] > 0
    kind = torch.full(known.shape, nothing, dtype=torch.int64, device=features.device)
    kind[a["image"], a["row"], a["column"]] = a["label"]
    if torch.is_grad_enabled():
        spread.see(features.permute(0, 2, 3, 1)[known], kind[known])
    return spread.of(weights.float())[kind].permute(0, 3, 1, 2)


def _mask_terms(logits: Tensor, target: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Dice loss, mean cross entropy and IoU of K masks, each (K,), over the cells inside the image."""
    probability = logits.sigmoid() * inside
    target = target * inside
    both = (probability * target).flatten(1).sum(1)
    sizes = probability.square().flatten(1).sum(1) + target.square().flatten(1).sum(1)
    dice = 1 - (2 * both + 1) / (sizes + 1)
    pixel = F.binary_cross_entropy_with_logits(logits, target, weight=inside, reduction="none")
    pixel = pixel.flatten(1).sum(1) / inside.flatten(1).sum(1).clamp(min=1)
    with torch.no_grad():
        drawn, true = probability > 0.5, target > 0.5
        union = (drawn | true).flatten(1).sum(1)
        iou = (drawn & true).flatten(1).sum(1) / union.clamp(min=1)
    return dice, pixel, iou


def _tensors(a: Assignment, device: torch.device) -> dict[str, Tensor]:
    arrays = {k: v for k, v in vars(a).items() if isinstance(v, np.ndarray)}
    return {k: torch.from_numpy(v).to(device, non_blocking=True) for k, v in arrays.items()}


def compact_losses(
    network: CompactNetwork,
    pixels: Tensor,
    targets: Sequence[Target],
    classes: Sequence[int],
    normaliser: Callable[[Tensor], Tensor] | None = None,
    spread: FeatureSpread | None = None,
    imitation: Imitation | None = None,
) -> dict[str, Tensor]:
    """``{"score", "dice", "pixel"}``, weighted and normalised by the positives of the batch.

    ``normaliser``: from the positives of this batch to those of the whole one that it is a part of. ``spread``: of the
    features before the score, where the loss is to be that of features that vary.
    ``imitation``: adds ``zero_order`` and ``first_order``, from the soft masks of the targets.
    """
    scores, features, masks = network(pixels)
    shape = (pixels.shape[2], pixels.shape[3])
    total = pixels.new_zeros(3)
    count = pixels.new_zeros(())
    imitated = pixels.new_zeros(2)
    for stride in LEVELS:
        assigned = assign(targets, stride, shape, classes)
        a = _tensors(assigned, pixels.device)
        logits = scores[stride].float()
        quality = torch.zeros_like(logits)
        if a["image"].numel():
            at = features[stride][a["image"], :, a["row"], a["column"]]
            drawn = draw_masks(
                masks[stride], network.controller(at), a["image"], a["row"], a["column"]
            )
            dice, pixel, iou = _mask_terms(drawn.float(), a["masks"], a["inside"])
            weight = a["weight"]
            total = total + torch.stack(
                [total[0] * 0, (weight * dice).sum(), (weight * pixel).sum()]
            )
            count = count + weight.sum()
            best = iou.clamp(min=QUALITY_FLOOR) * a["confidence"]
            if imitation is not None:
                sure = logits[a["image"], a["label"], a["row"], a["column"]]
                imitated = imitated + imitation_terms(targets, assigned, stride, drawn, sure)
            quality[a["image"], a["label"], a["row"], a["column"]] = best
        moved = None
        if spread is not None:
            moved = _spread(spread, features[stride], network.score.weight.flatten(1), a)
        score = (quality_focal(logits, quality, moved) * a["known"].unsqueeze(1)).sum()
        total = total + torch.stack([score, total[1] * 0, total[2] * 0])
    divisor = count.clamp(min=1) if normaliser is None else normaliser(count)
    total = total / divisor
    terms = {
        "score": SCORE_WEIGHT * total[0],
        "dice": DICE_WEIGHT * total[1],
        "pixel": PIXEL_WEIGHT * total[2],
    }
    if imitation is not None:
        imitated = imitated / divisor
        terms["zero_order"] = imitation.zero_order * imitated[0]
        terms["first_order"] = imitation.first_order * imitated[1]
    return terms


def positives(targets: Sequence[Target], shape: tuple[int, int], classes: Sequence[int]) -> float:
    """What `compact_losses` divides by: the weights of all positive locations of a batch."""
    return float(sum(assign(targets, stride, shape, classes).weight.sum() for stride in LEVELS))
