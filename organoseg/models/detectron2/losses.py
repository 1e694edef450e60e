"""What a batch costs: detectron2's losses, with a weight for every organoid and doubt as a soft label.

With labels made by people the sums are detectron2's own, to the last digits (a test compares them). A pseudo-label of
certainty c teaches its anchors and regions "organoid" with c and "background" with 1 - c, and its mask with its weight;
it teaches no box unless the engine's options say so (as in Liu et al. 2021, "Unbiased Teacher": a teacher's
boxes are the part of it that one cannot tell the quality of), and then its box counts c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torch.nn import functional as F

from organoseg.core import RunError
from organoseg.models.detectron2.assign import (
    Anchors,
    Regions,
    assign_anchors,
    assign_regions,
)
from organoseg.models.detectron2.box_losses import box_costs, of_class
from organoseg.models.detectron2.mask_losses import TINY, mask_losses
from organoseg.models.detectron2.precision import exact
from organoseg.models.detectron2.targets import BatchTargets

Normaliser = Callable[[Tensor], Tensor]


def network_losses(
    network: Any, images: Any, batch: BatchTargets, normaliser: Normaliser
) -> dict[str, Tensor]:
    """Losses of a ``GeneralizedRCNN`` in training mode.

    Parameters
    ----------
    images
        detectron2's ``ImageList``: what the network sees.
    normaliser
        Everything that sums are divided by passes through it: it gives the mean over all processes.

    Raises
    ------
    RunError
        The network's outputs are not finite any more.
    """
    features = exact(network.backbone(images.tensor))
    generator = network.proposal_generator
    losses, proposals = _proposal_losses(generator, images, features, batch, normaliser)
    heads = network.roi_heads
    regions = assign_regions(heads, heads.proposal_matcher, proposals, batch, draw=True)
    box = _shared_losses if hasattr(heads, "res5") else _separate_losses
    return losses | box(heads, features, regions, batch, images.image_sizes, normaliser)


# -- proposals -------------------------------------------------------------------------------------


def _proposal_losses(
    generator: Any,
    images: Any,
    features: dict[str, Tensor],
    batch: BatchTargets,
    normaliser: Normaliser,
) -> tuple[dict[str, Tensor], list[Tensor]]:
    maps = [features[name] for name in generator.in_features]
    anchors = generator.anchor_generator(maps)
    scores, deltas = generator.rpn_head(maps)
    scores = [s.permute(0, 2, 3, 1).flatten(1).float() for s in scores]
    width = generator.anchor_generator.box_dim
    deltas = [
        d.unflatten(1, (-1, width)).permute(0, 3, 4, 1, 2).flatten(1, 3).float() for d in deltas
    ]
    found = assign_anchors(generator, Boxes.cat(anchors), batch)
    losses = _anchor_losses(generator, anchors, scores, deltas, found, normaliser)
    try:
        proposals = generator.predict_proposals(anchors, scores, deltas, images.image_sizes)
    except FloatingPointError as error:
        raise RunError(
            "the network's proposals are not finite: training has diverged",
            remedy="Lower training.learning_rate; the last checkpoint is whole.",
        ) from error
    return losses, [p.proposal_boxes.tensor for p in proposals]


def _anchor_losses(
    generator: Any,
    anchors: list[Any],
    scores: list[Tensor],
    deltas: list[Tensor],
    found: Anchors,
    normaliser: Normaliser,
) -> dict[str, Tensor]:
    room = float(generator.batch_size_per_image * len(found.sampled))
    count = normaliser(scores[0].new_tensor(room)).clamp(min=TINY)
    positive = found.sampled == 1
    soft = torch.where(positive, found.confidence, 0.0)
    weight = torch.where(positive, 1.0, found.background) * (found.sampled >= 0)
    score = F.binary_cross_entropy_with_logits(torch.cat(scores, 1), soft, weight, reduction="sum")
    taught = found.places > 0
    start = Boxes.cat(anchors).tensor.expand(len(taught), -1, -1)[taught]
    each = box_costs(generator, start, torch.cat(deltas, 1)[taught], found.boxes[taught])
    box = (each * found.places[taught]).sum()
    factors = generator.loss_weight
    return {
        "proposal_score": score / count * factors.get("loss_rpn_cls", 1.0),
        "proposal_box": box / count * factors.get("loss_rpn_loc", 1.0),
    }


# -- regions ---------------------------------------------------------------------------------------


def _separate_losses(
    heads: Any,
    features: dict[str, Tensor],
    regions: Regions,
    batch: BatchTargets,
    sizes: list[tuple[int, int]],
    normaliser: Normaliser,
) -> dict[str, Tensor]:
    """Box and mask heads that pool for themselves: FPN, DC5, cascade, PointRend."""
    maps = [features[name] for name in heads.box_in_features]
    boxes = regions.boxes
    if hasattr(heads, "num_cascade_stages"):
        losses = _cascade_losses(heads, maps, regions, batch, sizes, normaliser)
    else:
        pooled = heads.box_pooler(maps, [Boxes(b) for b in boxes])
        predictions = heads.box_predictor(heads.box_head(pooled))
        losses = _region_losses(heads.box_predictor, predictions, regions, normaliser)
        if heads.train_on_pred_boxes:
            boxes = _predicted(heads.box_predictor, predictions, regions, sizes)
    return losses | mask_losses(heads, features, boxes, regions, batch, normaliser)


def _shared_losses(
    heads: Any,
    features: dict[str, Tensor],
    regions: Regions,
    batch: BatchTargets,
    sizes: list[tuple[int, int]],
    normaliser: Normaliser,
) -> dict[str, Tensor]:
    """C4: one stage of the backbone works on every region, for box and mask alike."""
    maps = [features[name] for name in heads.in_features]
    pooled = heads._shared_roi_transform(maps, [Boxes(b) for b in regions.boxes])
    predictions = heads.box_predictor(pooled.mean(dim=(2, 3)))
    losses = _region_losses(heads.box_predictor, predictions, regions, normaliser)
    return losses | mask_losses(heads, features, regions.boxes, regions, batch, normaliser, pooled)


def _cascade_losses(
    heads: Any,
    maps: list[Tensor],
    regions: Regions,
    batch: BatchTargets,
    sizes: list[tuple[int, int]],
    normaliser: Normaliser,
) -> dict[str, Tensor]:
    """Each stage begins at the boxes of the one before it and asks for a better match."""
    total: dict[str, Tensor] = {}
    for stage in range(heads.num_cascade_stages):
        proposals = _as_proposals(regions.boxes, sizes)
        predictions = heads._run_stage(maps, proposals, stage)
        predictor = heads.box_predictor[stage]
        part = _region_losses(predictor, predictions, regions, normaliser)
        total = {k: total[k] + v if k in total else v for k, v in part.items()}
        if stage + 1 < heads.num_cascade_stages:
            with torch.no_grad():
                moved = predictor.predict_boxes(predictions, proposals)
                following = heads._create_proposals_from_boxes(list(moved), sizes)
            boxes = [p.proposal_boxes.tensor for p in following]
            matcher = heads.proposal_matchers[stage + 1]
            regions = assign_regions(heads, matcher, boxes, batch, draw=False)
    return total


def _region_losses(
    predictor: Any, predictions: tuple[Tensor, Tensor], regions: Regions, normaliser: Normaliser
) -> dict[str, Tensor]:
    scores, deltas = (p.float() for p in predictions)
    classes = predictor.num_classes
    n = len(regions.label)
    count = normaliser(scores.new_tensor(float(n))).clamp(min=TINY)
    real = regions.label < classes
    weight = torch.where(real, 1.0, regions.background)
    sure = torch.where(real, regions.confidence, 0.0)
    if predictor.use_sigmoid_ce:
        soft = F.one_hot(regions.label, classes + 1)[:, :classes] * sure[:, None]
        each = F.binary_cross_entropy_with_logits(scores[:, :-1], soft, reduction="none").sum(1)
    else:
        logs = scores.log_softmax(1)
        named = logs.gather(1, regions.label[:, None])[:, 0]
        each = -torch.where(real, sure * named + (1 - sure) * logs[:, -1], logs[:, -1])
    taught = regions.places > 0
    chosen = of_class(deltas[taught], regions.label[taught])
    costs = box_costs(predictor, regions.all_boxes[taught], chosen, regions.truth[taught])
    box = (costs * regions.places[taught]).sum()
    factors = predictor.loss_weight
    return {
        "score": (each * weight).sum() / count * factors.get("loss_cls", 1.0),
        "box": box / count * factors.get("loss_box_reg", 1.0),
    }


def _predicted(
    predictor: Any,
    predictions: tuple[Tensor, Tensor],
    regions: Regions,
    sizes: list[tuple[int, int]],
) -> list[Tensor]:
    """The regions' boxes after the network's correction; masks are taught inside these."""
    proposals = _as_proposals(regions.boxes, sizes)
    labels = regions.label.split([len(b) for b in regions.boxes])
    for proposal, label in zip(proposals, labels, strict=True):
        proposal.gt_classes = label.clone()
    with torch.no_grad():
        return list(predictor.predict_boxes_for_gt_classes(predictions, proposals))


def _as_proposals(boxes: list[Tensor], sizes: list[tuple[int, int]]) -> list[Any]:
    return [Instances(size, proposal_boxes=Boxes(b)) for b, size in zip(boxes, sizes, strict=True)]
