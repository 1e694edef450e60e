"""From score and mask features to Instances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from organoseg.core import Instances, Mask, vote
from organoseg.models.compact.network import FINER, LEVELS, WINDOW, CompactNetwork, draw_masks

#: Smallest organoid (px) that is reported.
SMALLEST_AREA = 16
#: A neighbour of a peak draws too when its score is at least this share of the peak's.
NEARLY = 0.4
#: Locations that may speak for one reported organoid.
SPEAKERS = 8
#: Window pixels that are interpolated at once; bounds the memory of images with thousands of organoids.
MOST_PIXELS = 1 << 23
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


def _extents(on: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last True (half-open) along the last axis of (K, n); (n, n) where there is none."""
    n = on.shape[1]
    some = on.any(1)
    first = np.where(some, on.argmax(1), n)
    return first, np.where(some, n - on[:, ::-1].argmax(1), n)


def _drawings(
    logits: Tensor, stride: int, rows: Tensor, columns: Tensor, shape: tuple[int, int]
) -> Iterator[tuple[int, Mask, float]]:
    """Windows (K, 64, 64) of logits as masks inside the image: index, mask, its mean probability."""
    cell = stride // FINER
    at_once = max(MOST_PIXELS // (WINDOW * cell) ** 2, 1)
    middle = FINER // 2 - WINDOW // 2
    tops = ((rows * FINER + middle) * cell).tolist()
    lefts = ((columns * FINER + middle) * cell).tolist()
    for start in range(0, len(logits), at_once):
        part = logits[start : start + at_once]
        on = (part > 0).numpy()
        y0, y1 = _extents(np.asarray(on.any(2)))
        x0, x1 = _extents(np.asarray(on.any(1)))
        big = F.interpolate(
            part[:, None], scale_factor=float(cell), mode="bilinear", align_corners=False
        )[:, 0].numpy()
        for k in np.flatnonzero(y1 > y0).tolist():
            top, left = tops[start + k], lefts[start + k]
            # One cell of margin for what interpolation adds; nothing outside the image.
            a, b = max((y0[k] - 1) * cell, -top, 0), min((y1[k] + 1) * cell, shape[0] - top)
            c, d = max((x0[k] - 1) * cell, -left, 0), min((x1[k] + 1) * cell, shape[1] - left)
            if a >= b or c >= d:
                continue
            inside = big[k, a:b, c:d]
            bits = inside > 0
            mask = Mask.from_bits(bits, top + a, left + c)
            if mask is not None and mask.area >= SMALLEST_AREA:
                yield start + k, mask, float((1 / (1 + np.exp(-inside[bits]))).mean())


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
        if len(image) > SPEAKERS * most * len(found):
            best = probability.topk(SPEAKERS * most * len(found)).indices
            image, label, row, column, probability = (
                v[best] for v in (image, label, row, column, probability)
            )
        if not len(image):
            continue
        parameters = network.controller(features[stride][image, :, row, column])
        logits = draw_masks(masks[stride], parameters, image, row, column).float().cpu()
        whose, kind, sure = image.tolist(), label.tolist(), probability.tolist()
        for k, mask, inner in _drawings(logits, stride, row.cpu(), column.cpu(), shape):
            score = float(np.sqrt(sure[k] * inner))
            found[whose[k]].append((mask, score, classes[kind[k]]))
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
    overlap = np.where(same_class, drawn.iou(drawn, min(nms, SAME)), 0.0)
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
