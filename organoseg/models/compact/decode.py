"""From score and mask features to Instances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from organoseg.core import Instances, Mask, vote
from organoseg.models.compact.network import FINER, LEVELS, WINDOW, CompactNetwork, draw_masks

#: Smallest organoid (px) that is reported.
SMALLEST_AREA = 16
#: A neighbour of a peak draws too when its score is at least this share of the peak's.
NEARLY = 0.4
#: Drawings that agree to this IoU vote on one mask.
SAME = 0.7


def _speakers(logits: Tensor, threshold: float) -> tuple[Tensor, ...]:
    """Locations whose masks are drawn: image, class, row, column, probability (K,) each.

    Local maxima of the score map and those neighbours that are nearly as sure. Drawing every location above the
    threshold would be dearer than the whole network.
    """
    probability = logits.float().sigmoid()
    highest = F.max_pool2d(probability, 3, 1, 1)
    keep = (probability >= NEARLY * highest) & (probability > threshold)
    image, label, row, column = keep.nonzero(as_tuple=True)
    return image, label, row, column, probability[keep]


def _trim(
    logits: Tensor, stride: int, row: int, column: int, shape: tuple[int, int]
) -> tuple[Mask, float] | None:
    """One window (64, 64) of logits to a pixel mask inside the image and its mean probability."""
    cell = stride // FINER
    on = logits > 0
    rows, columns = on.any(1).nonzero(), on.any(0).nonzero()
    if not len(rows):
        return None
    # One cell of margin, so that interpolation sees both sides of the edge.
    y0, y1 = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, WINDOW)
    x0, x1 = max(int(columns[0]) - 1, 0), min(int(columns[-1]) + 2, WINDOW)
    part = logits[None, None, y0:y1, x0:x1]
    big = F.interpolate(part, scale_factor=float(cell), mode="bilinear", align_corners=False)[0, 0]
    middle = FINER // 2 - WINDOW // 2
    top = (row * FINER + middle + y0) * cell
    left = (column * FINER + middle + x0) * cell
    big = big[max(-top, 0) : max(shape[0] - top, 0), max(-left, 0) : max(shape[1] - left, 0)]
    bits = big > 0
    area = int(bits.sum())
    if area < SMALLEST_AREA:
        return None
    mask = Mask.from_bits(bits.numpy(), max(top, 0), max(left, 0))
    sure = float(big[bits].sigmoid().mean())
    return None if mask is None else (mask, sure)


@torch.no_grad()
def decode(
    network: CompactNetwork,
    pixels: Tensor,
    classes: Sequence[int],
    shape: tuple[int, int],
    threshold: float,
    nms: float,
    most: int,
) -> list[Instances]:
    """Instances of each image of a batch, best first.

    score = sqrt(location's probability x mean mask probability). Duplicates are removed by mask IoU only, because an
    organoid inside another one is an organoid, but before they go they vote on the edge.
    """
    scores, features, masks = network(pixels)
    found: list[list[tuple[Mask, float, int]]] = [[] for _ in range(pixels.shape[0])]
    for stride in LEVELS:
        image, label, row, column, probability = _speakers(scores[stride], threshold)
        if len(image) > most * len(found):
            best = probability.topk(most * len(found)).indices
            image, label, row, column, probability = (
                v[best] for v in (image, label, row, column, probability)
            )
        if not len(image):
            continue
        parameters = network.controller(features[stride][image, :, row, column])
        logits = draw_masks(masks[stride], parameters, image, row, column).float().cpu()
        for k, (b, c, y, x, p) in enumerate(
            zip(
                image.tolist(),
                label.tolist(),
                row.tolist(),
                column.tolist(),
                probability.tolist(),
                strict=True,
            )
        ):
            drawn = _trim(logits[k], stride, y, x, shape)
            if drawn is not None:
                found[b].append((drawn[0], float(np.sqrt(p * drawn[1])), classes[c]))
    return [_collect(items, shape, threshold, nms, most) for items in found]


def _collect(
    items: list[tuple[Mask, float, int]],
    shape: tuple[int, int],
    threshold: float,
    nms: float,
    most: int,
) -> Instances:
    items = [item for item in items if item[1] > threshold]
    if not items:
        return Instances.empty(shape)
    items.sort(key=lambda item: -item[1])
    drawn = Instances.from_masks(
        shape,
        [m for m, _, _ in items],
        scores=np.array([s for _, s, _ in items], np.float32),
        classes=np.array([c for _, _, c in items], np.int32),
    )
    return _merge(drawn, nms).select(slice(0, most))


def _merge(drawn: Instances, nms: float) -> Instances:
    """Greedy mask NMS, best first, in which the drawings that agree with a kept one vote on its mask."""
    same_class = drawn.classes[:, None] == drawn.classes[None, :]
    overlap = np.where(same_class, drawn.iou(drawn), 0.0)
    free = np.ones(len(drawn), bool)
    kept: list[int] = []
    masks: list[Mask | None] = []
    for i in range(len(drawn)):
        if not free[i]:
            continue
        voters = np.flatnonzero(overlap[i] >= SAME)
        masks.append(
            vote(
                [drawn.masks[j] for j in voters], (drawn.scores[voters].astype(float) ** 2).tolist()
            )
        )
        kept.append(i)
        free &= overlap[i] <= nms
    merged = drawn.select(np.array(kept, np.int64))
    whole = [m if m is not None else old for m, old in zip(masks, merged.masks, strict=True)]
    return merged.replace(masks=tuple(whole))
