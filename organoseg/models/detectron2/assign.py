"""Which anchors and regions teach what: detectron2's own matching and drawing, with an ignore band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from detectron2.modeling.sampling import subsample_labels
from detectron2.structures import Boxes, pairwise_iou
from torch import Tensor

from organoseg.models.detectron2.targets import BatchTargets, ImageTarget

#: A box with at least this share of its area on ignored masks is neither organoid nor background.
INSIDE = 0.5


def neutral(boxes: Tensor, target: ImageTarget, batch: BatchTargets, iou: float) -> Tensor | None:
    """bool (R,): boxes that lie on ignored masks, or match an ignored box to ``iou``; None where nothing is ignored."""
    if target.covered is None or not len(boxes):
        return None
    sums = target.covered
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    x0, y0, x1, y1 = batch.on_masks(boxes).round().long().unbind(1)
    x0, x1, y0, y1 = (
        x0.clamp(0, width),
        x1.clamp(0, width),
        y0.clamp(0, height),
        y1.clamp(0, height),
    )
    covered = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    area = ((x1 - x0) * (y1 - y0)).clamp(min=1)
    inside = covered >= INSIDE * area
    alike = pairwise_iou(Boxes(target.ignored), Boxes(boxes)).amax(0) >= iou
    return inside | alike


@dataclass(frozen=True, eq=False)
class Anchors:
    """What the anchors of a batch teach, (B, R) each: ``sampled`` label -1, 0, 1; ``boxes`` (B, R, 4) the organoids'.

    ``places`` is how much an anchor's box counts, 0 where it teaches none.
    """

    sampled: Tensor
    confidence: Tensor
    boxes: Tensor
    places: Tensor
    background: Tensor


@torch.no_grad()
def assign_anchors(generator: Any, anchors: Boxes, batch: BatchTargets) -> Anchors:
    """Match anchors (R) of every image to its organoids and draw those that count."""
    parts: list[tuple[Tensor, ...]] = []
    for target in batch.images:
        matched, label = generator.anchor_matcher(pairwise_iou(Boxes(target.boxes), anchors))
        aside = neutral(anchors.tensor, target, batch, generator.anchor_matcher.thresholds[1])
        if aside is not None:
            label[aside & (label == 0)] = -1
        positive, negative = subsample_labels(
            label, generator.batch_size_per_image, generator.positive_fraction, 0
        )
        label = torch.full_like(label, -1)
        label[positive], label[negative] = 1, 0
        if len(target.boxes):
            boxes, sure = target.boxes[matched], target.confidence[matched]
            places = target.places[matched] * (label == 1)
        else:
            boxes, sure = torch.zeros_like(anchors.tensor), anchors.tensor.new_zeros(len(anchors))
            places = sure
        parts.append((label, sure, boxes, places))
    label, sure, boxes, places = (torch.stack(p) for p in zip(*parts, strict=True))
    background = boxes.new_tensor([t.background for t in batch.images])[:, None]
    return Anchors(label, sure, boxes, places, background)


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of all images of a batch, one after the other.

    Attributes
    ----------
    boxes
        One (R_i, 4) an image.
    label
        int64 (R,): class channel; the number of classes stands for background.
    confidence, weights
        float32 (R,): certainty and mask weight of the organoid; background has its weight in ``background``.
    truth
        float32 (R, 4): the organoid's box.
    which
        int64 (R,): the organoid's place in the stack of masks.
    places
        float32 (R,): how much the region's box counts; 0: it is not taught.
    """

    boxes: list[Tensor]
    label: Tensor
    confidence: Tensor
    weights: Tensor
    background: Tensor
    truth: Tensor
    which: Tensor
    places: Tensor

    @property
    def all_boxes(self) -> Tensor:
        """float32 (R, 4)."""
        return torch.cat(self.boxes)


@torch.no_grad()
def assign_regions(
    heads: Any, matcher: Any, proposals: list[Tensor], batch: BatchTargets, draw: bool
) -> Regions:
    """Match regions to organoids; ``draw``: add the organoids' own boxes, and take a random part."""
    none, parts, boxes = heads.num_classes, [], []
    for region, target in zip(proposals, batch.images, strict=True):
        if draw and heads.proposal_append_gt:
            region = torch.cat([region, target.boxes])
        matched, found = matcher(pairwise_iou(Boxes(target.boxes), Boxes(region)))
        if len(target.boxes):
            label = target.labels[matched]
            label[found == 0] = none
            label[found == -1] = -1
        else:
            label = torch.full_like(matched, none)
        aside = neutral(region, target, batch, matcher.thresholds[1])
        if aside is not None:
            label[aside & (label == none)] = -1
        if draw:
            keep = torch.cat(
                subsample_labels(label, heads.batch_size_per_image, heads.positive_fraction, none)
            )
        else:
            keep = (label >= 0).nonzero()[:, 0]
        boxes.append(region[keep])
        parts.append(_values(target, label[keep], matched[keep], none))
    return Regions(boxes, *(torch.cat(p) for p in zip(*parts, strict=True)))


def _values(target: ImageTarget, label: Tensor, matched: Tensor, none: int) -> tuple[Tensor, ...]:
    real = label < none
    n = len(label)
    like = target.boxes
    background = like.new_full((n,), target.background)
    if not len(target.boxes):
        zero = like.new_zeros(n)
        return label, zero, zero, background, like.new_zeros((n, 4)), matched, zero
    return (
        label,
        target.confidence[matched],
        target.weights[matched],
        background,
        target.boxes[matched],
        matched + target.first,
        target.places[matched] * real,
    )
