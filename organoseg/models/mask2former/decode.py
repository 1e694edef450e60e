"""From queries to Instances.

score = class probability x mean mask probability inside the mask, as the paper's authors do it; masks are interpolated
to the image's size before they are cut, overlap as they like, and leave the device as their boxes only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from organoseg.core import Instances, Mask
from organoseg.core.soft_mask import SoftMask, dilated
from organoseg.models.mask2former.network import Predictions
from organoseg.models.mask2former.options import Mask2FormerOptions

#: Pixels of masks that are held at once; bounds the memory of large images with many organoids.
PIXELS_AT_ONCE = 1 << 25


@dataclass(frozen=True)
class Frame:
    """Where the image lies in what the network saw.

    Parameters
    ----------
    shape
        Height and width of the image, px.
    stride
        Px of the image a cell of the features: 4 / enlargement.
    """

    shape: tuple[int, int]
    stride: float


def full_size(masks: Tensor, frame: Frame) -> Tensor:
    """Logits (M, h, w) of the features' grid, bilinear, at every px of the image: (M, H, W)."""
    big = F.interpolate(
        masks[:, None].float(), scale_factor=frame.stride, mode="bilinear", align_corners=False
    )
    return big[:, 0, : frame.shape[0], : frame.shape[1]]


def _extent(on: Tensor) -> tuple[Tensor, Tensor]:
    """First and last True (half-open) along the last axis of (M, n)."""
    n = on.shape[1]
    first = on.int().argmax(1)
    return first, n - on.flip(1).int().argmax(1)


def _cut(logits: Tensor, probability: Tensor, smallest: int) -> Iterator[tuple[int, Mask, float]]:
    """Index, mask and score of each of the full-size masks (M, H, W) that is large enough. Two copies to the host."""
    on = logits > 0
    area = on.flatten(1).sum(1)
    inner = (logits.sigmoid() * on).flatten(1).sum(1) / area.clamp(min=1)
    top, bottom = _extent(on.any(2))
    left, right = _extent(on.any(1))
    numbers = torch.stack((area, top, bottom, left, right)).double()
    table = torch.cat((numbers, (probability * inner).double()[None])).cpu().numpy()
    good = np.flatnonzero(table[0] >= max(smallest, 1))
    if not len(good):
        return
    box = table[1:5, good].astype(np.int64)
    heights, widths = box[1] - box[0], box[3] - box[2]
    sizes = heights * widths
    begins = np.concatenate(([0], np.cumsum(sizes)))
    here = on.device.type == "cpu"
    bits = _cut_here(on, good, box) if here else _gathered(on, good, box, widths, sizes, begins)
    for k, index in enumerate(good.tolist()):
        flat = bits[begins[k] : begins[k + 1]].reshape(heights[k], widths[k])
        mask = Mask.from_bits(flat, int(box[0, k]), int(box[2, k]))
        if mask is not None:
            yield index, mask, float(table[5, index])


def _cut_here(on: Tensor, good: NDArray[np.int64], box: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The same of masks that are on the host."""
    stack = on.numpy()
    cut = [stack[i, a:b, c:d].ravel() for i, (a, b, c, d) in zip(good, box.T, strict=True)]
    return np.concatenate(cut)


def _gathered(
    on: Tensor,
    good: NDArray[np.int64],
    box: NDArray[np.int64],
    widths: NDArray[np.int64],
    sizes: NDArray[np.int64],
    begins: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """The pixels of all boxes, one after the other, in one kernel and one copy."""
    table = np.stack((good, box[0], box[2], widths, begins[:-1], sizes))
    index, top, left, width, begin, size = torch.from_numpy(table).to(on.device)
    total = int(begins[-1])
    whose = torch.repeat_interleave(
        torch.arange(len(good), device=on.device), size, output_size=total
    )
    place = torch.arange(total, device=on.device) - begin[whose]
    row, column = place // width[whose], place % width[whose]
    pixels = on[index[whose], top[whose] + row, left[whose] + column]
    return np.asarray(pixels.cpu().numpy())


def _image(
    masks: Tensor,
    query: Tensor,
    probability: Tensor,
    label: NDArray[np.int64],
    classes: Sequence[int],
    frame: Frame,
    options: Mask2FormerOptions,
    threshold: float,
    soft: list[SoftMask] | None = None,
) -> Instances:
    """Instances of one image; ``masks`` (Q', h, w) of the queries that are candidates, ``query`` (k,) which of them.

    ``soft``: takes their soft masks, in their order.
    """
    at_once = max(PIXELS_AT_ONCE // (frame.shape[0] * frame.shape[1]), 1)
    found: list[Mask] = []
    scores: list[float] = []
    kinds: list[int] = []
    drawings: list[SoftMask] = []
    for start in range(0, len(query), at_once):
        part = slice(start, start + at_once)
        logits = full_size(masks[query[part]], frame)
        for index, mask, score in _cut(logits, probability[part], options.smallest_area):
            if score >= threshold:
                found.append(mask)
                scores.append(score)
                kinds.append(classes[label[start + index]])
                if soft is not None:
                    drawings.append(_soft(logits[index], mask, score))
    order = np.argsort(-np.array(scores, np.float64), kind="stable")
    drawn = Instances.from_masks(
        frame.shape,
        [found[i] for i in order],
        scores=np.array(scores, np.float32)[order],
        classes=np.array(kinds, np.int32)[order],
    )
    if options.mask_nms is not None:
        drawn = drawn.nms(options.mask_nms)
    drawn = drawn.select(slice(0, options.most))
    if soft is not None:
        soft += [drawings[order[number - 1]] for number in drawn.ids.tolist()]
    return drawn


def _soft(logits: Tensor, mask: Mask, score: float) -> SoftMask:
    """The probabilities around one of the full-size masks (H, W)."""
    y0, x0, y1, x1 = dilated(mask.box, (logits.shape[0], logits.shape[1]))
    values = logits[y0:y1, x0:x1].sigmoid().cpu().numpy()
    return SoftMask(y0, x0, values, float(np.clip(score, 0, 1)))


@torch.no_grad()
def decode(
    predictions: Predictions,
    classes: Sequence[int],
    frame: Frame,
    options: Mask2FormerOptions,
    threshold: float,
    soft: list[list[SoftMask]] | None = None,
) -> list[Instances]:
    """Instances of each image, best first, from the last layer's queries.

    Of all pairs of a query and a class the ``most`` surest are looked at; one query may speak for several classes.
    ``soft``: takes the soft masks of each image, in the order of its instances.
    """
    with torch.autocast(predictions.classes.device.type, enabled=False):
        probability = predictions.classes[-1].float().softmax(-1)[..., :-1]
        kinds = probability.shape[2]
        best = probability.flatten(1).topk(min(options.most, probability[0].numel()), 1)
        # A score is at most its class probability: what is below the threshold needs no mask.
        counts = (best.values >= threshold).sum(1).tolist()
        embeddings = predictions.embeddings[-1].float()
        result = []
        for image, count in enumerate(counts):
            place = best.indices[image, :count]
            asked, which = torch.unique(place // kinds, return_inverse=True)
            features = predictions.features[image].float()
            masks = (embeddings[image, asked] @ features.flatten(1)).view(-1, *features.shape[1:])
            label = (place % kinds).cpu().numpy()
            sure = best.values[image, :count]
            its: list[SoftMask] = []
            result.append(
                _image(
                    masks, which, sure, label, classes, frame, options, threshold,
                    None if soft is None else its,
                )
            )  # fmt: skip
            if soft is not None:
                soft.append(its)
    return result
