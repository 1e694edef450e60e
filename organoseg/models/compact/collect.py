"""From drawings in windows to Instances, without the network: what runs in every runtime alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from organoseg.core import Instances, Mask, vote
from organoseg.core.soft_mask import SoftMask, dilated, mean_of
from organoseg.models.compact.layout import FINER, WINDOW

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

Floats = NDArray[np.float32]


class Enlarge(Protocol):
    """Windows (K, 64, 64) at ``cell`` times their size, bilinear, cell centres in place."""

    def __call__(self, windows: Floats, cell: int) -> Floats: ...


@dataclass(frozen=True, eq=False)
class Drawing:
    """What one location says: a mask, how sure it is, which class, and its soft mask where one is wanted."""

    mask: Mask
    score: float
    class_: int
    soft: SoftMask | None = None


def _extents(on: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last True (half-open) along the last axis of (K, n); (n, n) where there is none."""
    n = on.shape[1]
    some = on.any(1)
    first = np.where(some, on.argmax(1), n)
    return first, np.where(some, n - on[:, ::-1].argmax(1), n)


def drawings(
    logits: Floats,
    stride: int,
    rows: Sequence[int],
    columns: Sequence[int],
    shape: tuple[int, int],
    enlarge: Enlarge,
    softly: bool = False,
) -> Iterator[tuple[int, Mask, float, SoftMask | None]]:
    """Windows (K, 64, 64) of logits as masks inside the image: index, mask, its mean probability, soft mask."""
    cell = stride // FINER
    at_once = max(MOST_PIXELS // (WINDOW * cell) ** 2, 1)
    middle = FINER // 2 - WINDOW // 2
    for start in range(0, len(logits), at_once):
        part = logits[start : start + at_once]
        on = part > 0
        y0, y1 = _extents(np.asarray(on.any(2)))
        x0, x1 = _extents(np.asarray(on.any(1)))
        big = enlarge(part, cell)
        for k in np.flatnonzero(y1 > y0).tolist():
            top = (rows[start + k] * FINER + middle) * cell
            left = (columns[start + k] * FINER + middle) * cell
            # One cell of margin for what interpolation adds; nothing outside the image.
            a, b = max((y0[k] - 1) * cell, -top, 0), min((y1[k] + 1) * cell, shape[0] - top)
            c, d = max((x0[k] - 1) * cell, -left, 0), min((x1[k] + 1) * cell, shape[1] - left)
            if a >= b or c >= d:
                continue
            inside = big[k, a:b, c:d]
            bits = inside > 0
            mask = Mask.from_bits(bits, top + a, left + c)
            if mask is not None and mask.area >= SMALLEST_AREA:
                soft = _soft(big[k], top, left, mask, shape) if softly else None
                yield start + k, mask, float((1 / (1 + np.exp(-inside[bits]))).mean()), soft


def _soft(window: Floats, top: int, left: int, mask: Mask, shape: tuple[int, int]) -> SoftMask:
    """The probabilities around a mask that was drawn in a window with its corner at (top, left)."""
    y0, x0, y1, x1 = dilated(mask.box, shape)
    y0, x0 = max(y0, top), max(x0, left)
    y1, x1 = min(y1, top + window.shape[0]), min(x1, left + window.shape[1])
    part = window[y0 - top : y1 - top, x0 - left : x1 - left]
    return SoftMask(y0, x0, expit(part))


def collect(
    items: Sequence[Drawing], shape: tuple[int, int], threshold: float, nms: float, most: int
) -> tuple[Instances, tuple[SoftMask, ...]]:
    """Instances of one image, best first, and their soft masks where every drawing has one.

    Duplicates are removed by mask IoU only, because an organoid inside another one is an organoid, but before they go
    they vote on the edge.
    """
    some = sorted((i for i in items if i.score > threshold), key=lambda item: -item.score)
    if not some:
        return Instances.empty(shape), ()
    drawn = Instances.from_masks(
        shape,
        [item.mask for item in some],
        scores=np.array([item.score for item in some], np.float32),
        classes=np.array([item.class_ for item in some], np.int32),
    )
    merged, voters = _merge(drawn, nms)
    merged = merged.select(slice(0, most))
    soft = [item.soft for item in some if item.soft is not None]
    if len(soft) < len(some):
        return merged, ()
    votes = (drawn.scores.astype(float) ** 2).tolist()
    fused = [
        mean_of(
            [soft[j] for j in its],
            [votes[j] for j in its],
            dilated(mask.box, shape),
            float(np.clip(score, 0, 1)),
        )
        for mask, score, its in zip(merged.masks, merged.scores, voters, strict=False)
    ]
    return merged, tuple(fused)


def _merge(drawn: Instances, nms: float) -> tuple[Instances, list[list[int]]]:
    """Greedy mask NMS, best first, in which the drawings that agree with a kept one vote on its mask; who votes."""
    same_class = drawn.classes[:, None] == drawn.classes[None, :]
    overlap = np.where(same_class, drawn.iou(drawn, min(nms, SAME)), 0.0)
    free = np.ones(len(drawn), bool)
    kept: list[int] = []
    masks: list[Mask | None] = []
    spoke: list[list[int]] = []
    for i in range(len(drawn)):
        if not free[i]:
            continue
        voters = np.flatnonzero(overlap[i] >= SAME).tolist()
        weights = (drawn.scores[voters].astype(float) ** 2).tolist()
        masks.append(vote([drawn.masks[j] for j in voters], weights))
        kept.append(i)
        spoke.append(voters)
        free &= overlap[i] <= nms
    merged = drawn.select(np.array(kept, np.int64))
    whole = [m if m is not None else old for m, old in zip(masks, merged.masks, strict=True)]
    return merged.replace(masks=tuple(whole)), spoke
