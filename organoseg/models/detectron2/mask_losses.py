"""The masks' part of the loss: each organoid's mask counts as much as its target says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from detectron2.structures import Boxes
from torch import Tensor
from torch.nn import functional as F

from organoseg.models.detectron2.assign import Regions
from organoseg.models.detectron2.targets import BatchTargets

#: A mean over processes of whole numbers is nought or well above this; sums over nothing are nought.
TINY = 1e-6


def mask_losses(
    heads: Any,
    features: dict[str, Tensor],
    boxes: list[Tensor],
    regions: Regions,
    batch: BatchTargets,
    normaliser: Callable[[Tensor], Tensor],
    pooled: Tensor | None = None,
) -> dict[str, Tensor]:
    """``mask``, and ``points`` for PointRend: weighted means over the regions that hold an organoid.

    Parameters
    ----------
    pooled
        Features of all regions where box and mask share them (C4).
    """
    real = regions.label < heads.num_classes
    per_image = real.split([len(b) for b in boxes])
    chosen = [b[keep] for b, keep in zip(boxes, per_image, strict=True)]
    label, weights, which = regions.label[real], regions.weights[real], regions.which[real]
    count = normaliser(weights.new_tensor(float(len(label)))).clamp(min=TINY)
    head = heads.mask_head
    if hasattr(head, "coarse_head"):
        return _point_losses(heads, features, chosen, label, weights, which, batch, count)
    if pooled is not None:
        seen = pooled[real]
    else:
        maps = [features[name] for name in heads.mask_in_features]
        seen = heads.mask_pooler(maps, [Boxes(b) for b in chosen])
    logits = _of_class(head.layers(seen).float(), label)
    truth = batch.crop(torch.cat(chosen), which, logits.shape[-1])
    return {"mask": _weighted(logits, truth, weights, count) * head.loss_weight}


def _of_class(logits: Tensor, label: Tensor) -> Tensor:
    """(R, C, ...) or (R, 1, ...) to (R, ...): the channel of each region's class."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    return logits[torch.arange(len(label), device=label.device), label]


def _weighted(logits: Tensor, truth: Tensor, weights: Tensor, count: Tensor) -> Tensor:
    each = F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="none")
    # Without a region the sum is a zero that still reaches every parameter of the head.
    return (each.flatten(1).mean(1) * weights).sum() / count if len(each) else logits.sum() * 0


def _point_losses(
    heads: Any,
    features: dict[str, Tensor],
    boxes: list[Tensor],
    label: Tensor,
    weights: Tensor,
    which: Tensor,
    batch: BatchTargets,
    count: Tensor,
) -> dict[str, Tensor]:
    """PointRend (Kirillov et al. 2020): a coarse mask, and the points that it is least sure of."""
    from detectron2.projects.point_rend.mask_head import calculate_uncertainty
    from detectron2.projects.point_rend.point_features import (
        get_point_coords_wrt_image,
        get_uncertain_point_coords_with_randomness,
    )

    head = heads.mask_head
    maps = {name: features[name] for name in heads.mask_in_features}
    places = [Boxes(b) for b in boxes]
    everywhere = torch.cat(boxes)
    coarse = head.coarse_head(head._roi_pooler(maps, places))
    truth = batch.crop(everywhere, which, coarse.shape[-1])
    losses = {"mask": _weighted(_of_class(coarse.float(), label), truth, weights, count)}
    if not head.mask_point_on:
        return losses
    with torch.no_grad():
        points = get_uncertain_point_coords_with_randomness(
            coarse.float(),
            lambda logits: calculate_uncertainty(logits, label),
            head.mask_point_train_num_points,
            head.mask_point_oversample_ratio,
            head.mask_point_importance_sample_ratio,
        )
        on_image = get_point_coords_wrt_image(everywhere, points)
        truth = _at_points(batch, which, on_image)
    fine = head._point_pooler(maps, places, points)
    logits = _of_class(head._get_point_logits(fine, points, coarse).float(), label)
    return losses | {"points": _weighted(logits, truth, weights, count)}


def _at_points(batch: BatchTargets, which: Tensor, points: Tensor) -> Tensor:
    """Share (R, P) of mask ``which[r]`` at points (R, P, 2), x and y on the network's grid."""
    if not len(points):
        return points[..., 0]
    used, row = which.unique(return_inverse=True)
    planes = batch.masks[used].to(points.dtype)
    height, width = planes.shape[1:]
    down, across = batch.scale
    grid = points * points.new_tensor([across * 2 / width, down * 2 / height]) - 1
    # One plane at a time would be a loop; one plane a region, a copy of each: regions of one organoid go together.
    most = int(torch.bincount(row).max())
    order = row.argsort(stable=True)
    start = torch.bincount(row, minlength=len(used)).cumsum(0) - torch.bincount(row)
    slot = torch.arange(len(row), device=row.device) - start[row[order]]
    packed = grid.new_zeros((len(used), most, *grid.shape[1:]))
    packed[row[order], slot] = grid[order]
    found = F.grid_sample(planes[:, None], packed, align_corners=False)[:, 0]
    values = found.new_empty(grid.shape[:2])
    values[order] = found[row[order], slot]
    return values
