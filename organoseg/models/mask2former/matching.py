"""Which query of which layer answers for which organoid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from organoseg.core import RunError
from organoseg.models.mask2former import points
from organoseg.models.mask2former.network import Predictions
from organoseg.models.mask2former.options import Mask2FormerOptions
from organoseg.models.mask2former.targets import PackedTargets

#: A query whose mask overlaps an ignored organoid so much is no false alarm: by IoU, or by the smaller of the two.
IGNORED_IOU, IGNORED_SHARE = 0.5, 0.7


@dataclass(frozen=True, eq=False)
class Matches:
    """Pairs of queries and organoids, and the queries that are let off.

    Parameters
    ----------
    layer, image, query, target
        int64 (M,) on the device.
    images
        On the host, int64 (M,), ascending: the image of each pair.
    spared
        bool (L, B, Q): overlaps an ignored organoid.
    """

    layer: Tensor
    image: Tensor
    query: Tensor
    target: Tensor
    images: NDArray[np.int64]
    spared: Tensor


def _cost(
    logits: Tensor, probability: Tensor, truth: Tensor, options: Mask2FormerOptions
) -> Tensor:
    """Cost (L, Q, n) of giving organoids to queries.

    logits (L, Q, P) and truth (n, P) at the same points; probability (L, Q, n) of each organoid's class.
    """
    count = logits.shape[2]
    inside = logits.sigmoid()
    # Cross entropy of all pairs at once: softplus(x) - x t.
    pixel = (F.softplus(logits).sum(2, keepdim=True) - logits @ truth.T) / count
    both = inside @ truth.T
    dice = 1 - (2 * both + 1) / (inside.sum(2, keepdim=True) + truth.sum(1) + 1)
    return (
        options.mask_weight * pixel
        + options.dice_weight * dice
        - options.class_weight * probability
    )


def _overlaps(logits: Tensor, truth: Tensor) -> Tensor:
    """Whether masks, logits (L, Q, P), overlap one of the ignored (n, P) enough to be let off: bool (L, Q)."""
    drawn, true = (logits > 0).float(), (truth > 0.5).float()
    both = drawn @ true.T
    sizes, others = drawn.sum(2, keepdim=True), true.sum(1)
    iou = both / (sizes + others - both).clamp(min=1)
    share = both / torch.minimum(sizes, others).clamp(min=1)
    return ((iou > IGNORED_IOU) | (share > IGNORED_SHARE)).any(2)


def _solve(costs: NDArray[np.float32]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Queries and columns of the cheapest assignment of each layer; costs (L, Q, n)."""
    if not np.isfinite(costs).all():
        raise RunError(
            "the network's predictions are no longer finite numbers",
            remedy="Lower training.learning_rate, or train in fp32 (training.precision); "
            "the last checkpoint is whole.",
        )
    return [linear_sum_assignment(layer) for layer in costs]


@torch.no_grad()
def match(
    predictions: Predictions,
    targets: PackedTargets,
    options: Mask2FormerOptions,
    extent: Tensor,
) -> Matches:
    """Hungarian matching of every layer and image, with a single copy from the device to the host.

    The points are drawn once an image and shared by its queries, layers and organoids: a mask is linear in the
    features, so they are read at the points once. ``extent``: see `points.uncertain`.

    Raises
    ------
    RunError
        A prediction is not finite.
    """
    layers, batch, queries, _ = predictions.classes.shape
    device = predictions.classes.device
    spared = torch.zeros((layers, batch, queries), dtype=torch.bool, device=device)
    costs: list[Tensor] = []
    taught: list[tuple[int, NDArray[np.int64]]] = []
    with torch.autocast(device.type, enabled=False):
        probability = predictions.classes.float().softmax(-1)
        for image in range(batch):
            ours, ignored = targets.of(image)
            if not len(ours) and not len(ignored):
                continue
            where = points.uniform(1, options.points, device)
            at = points.sample_features(predictions.features[image].float(), where[0] * extent)
            logits = predictions.embeddings[:, image].float() @ at
            both = torch.from_numpy(np.concatenate((ours, ignored))).to(device, non_blocking=True)
            truth = targets.sample(both, where)
            if len(ours):
                kind = targets.labels[both[: len(ours)]]
                sure = probability[:, image][:, :, kind]
                costs.append(_cost(logits, sure, truth[: len(ours)], options).flatten())
                taught.append((image, ours))
            if len(ignored):
                spared[:, image] = _overlaps(logits, truth[len(ours) :])
    return _assigned(costs, taught, spared)


def _assigned(
    costs: list[Tensor], taught: list[tuple[int, NDArray[np.int64]]], spared: Tensor
) -> Matches:
    layers, _, queries = spared.shape
    table = np.zeros((4, 0), np.int64)
    if costs:
        flat = torch.cat(costs).cpu().numpy()  # the one copy
        rows, begin = [], 0
        for image, ours in taught:
            size = layers * queries * len(ours)
            block = flat[begin : begin + size].reshape(layers, queries, len(ours))
            begin += size
            for layer, (query, column) in enumerate(_solve(block)):
                whose = np.full(len(query), image)
                rows.append(np.stack((np.full(len(query), layer), whose, query, ours[column])))
        table = np.concatenate(rows, 1)
    on_device = torch.from_numpy(table).to(spared.device, non_blocking=True)
    layer, image, query, target = on_device
    return Matches(layer, image, query, target, images=table[1], spared=spared)
