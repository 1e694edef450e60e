"""From detectron2's detections to Instances: masks drawn inside their boxes only, overlaps kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoseg.core import Instances, Mask

#: Smallest organoid (px) that is reported.
SMALLEST_AREA = 16


def decode(
    found: Sequence[Any],
    classes: Sequence[int],
    shape: tuple[int, int],
    seen: tuple[int, int],
    threshold: float,
    mask_nms: float | None,
    mask_score: bool,
    most: int,
) -> list[Instances]:
    """Instances of each image of ``shape``, best first, from what the network found at the size ``seen``.

    Boxes and masks of the whole batch come to the processor at once.
    """
    counts = [len(f) for f in found]
    if not sum(counts):
        return [Instances.empty(shape) for _ in found]
    with torch.no_grad():
        boxes = torch.cat([f.pred_boxes.tensor for f in found]).float()
        masks = torch.cat([f.pred_masks[:, 0] for f in found]).float()
        scores = torch.cat([f.scores for f in found]).float()
        if mask_score:
            scores = scores * _sureness(masks)
        kinds = torch.cat([f.pred_classes for f in found])
    scale = np.array([shape[1] / seen[1], shape[0] / seen[0]] * 2, np.float64)
    corners = boxes.cpu().numpy().astype(np.float64) * scale
    drawn = [draw(m, c, shape) for m, c in zip(masks.cpu().numpy(), corners, strict=True)]
    sure, kind = scores.cpu().numpy(), kinds.cpu().numpy()
    results, start = [], 0
    for count in counts:
        part = slice(start, start + count)
        labels = [classes[k] for k in kind[part].tolist()]
        results.append(
            _collect(drawn[part], sure[part], labels, shape, threshold, mask_nms).select(
                slice(0, most)
            )
        )
        start += count
    return results


def _sureness(masks: Tensor) -> Tensor:
    """Mean probability (N,) of the cells that belong to each mask."""
    on = masks >= 0.5
    return (masks * on).sum((1, 2)) / on.sum((1, 2)).clamp(min=1)


def draw(
    probability: NDArray[np.float32], box: NDArray[np.float64], shape: tuple[int, int]
) -> Mask | None:
    """The pixels where a grid (m, m) of probabilities, stretched over a box (x0, y0, x1, y1), is a half or more.

    Bilinear, zero outside the grid: what detectron2's ``paste_masks_in_image`` gives, without a whole image for
    every mask.
    """
    x0, y0, x1, y1 = box
    top, left = max(int(np.floor(y0)), 0), max(int(np.floor(x0)), 0)
    bottom, right = min(int(np.ceil(y1)), shape[0]), min(int(np.ceil(x1)), shape[1])
    if bottom <= top or right <= left or y1 <= y0 or x1 <= x0:
        return None
    down = _weights(np.arange(top, bottom), y0, y1, probability.shape[0])
    across = _weights(np.arange(left, right), x0, x1, probability.shape[1])
    bits = down @ probability @ across.T >= 0.5
    mask = Mask.from_bits(bits, top, left)
    return mask if mask is not None and mask.area >= SMALLEST_AREA else None


def _weights(places: NDArray[np.int64], low: float, high: float, cells: int) -> NDArray[np.float64]:
    """(P, cells): share of each cell in the value at the middle of each pixel."""
    at = (places + 0.5 - low) / (high - low) * cells - 0.5
    distance = np.abs(at[:, None] - np.arange(cells)[None, :])
    return np.clip(1 - distance, 0, None)


def _collect(
    masks: Sequence[Mask | None],
    scores: NDArray[np.float32],
    classes: list[int],
    shape: tuple[int, int],
    threshold: float,
    nms: float | None,
) -> Instances:
    everything = Instances.from_masks(shape, masks, scores, classes, drop_empty=True)
    kept = everything.select(everything.scores > threshold)
    kept = kept.select(np.argsort(-kept.scores, kind="stable"))
    if nms is not None:
        survivors: list[int] = []
        for kind in np.unique(kept.classes):
            mine = np.flatnonzero(kept.classes == kind)
            # Ids tell which of them survive: each class by itself.
            alive = set(kept.select(mine).nms(nms).ids.tolist())
            survivors += [i for i in mine.tolist() if int(kept.ids[i]) in alive]
        kept = kept.select(np.array(sorted(survivors), np.int64))
    return kept.replace(ids=np.arange(1, len(kept) + 1))
