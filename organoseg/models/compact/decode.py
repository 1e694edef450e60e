"""From score and mask features to Instances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from organoseg.core import Instances
from organoseg.core.soft_mask import SoftMask
from organoseg.models.compact.collect import (
    NEARLY,
    SPEAKERS,
    Drawing,
    Floats,
    collect,
    drawings,
)
from organoseg.models.compact.layout import LEVELS
from organoseg.models.compact.network import CompactNetwork, draw_masks


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


def _enlarged(windows: Floats, cell: int) -> Floats:
    big = F.interpolate(
        torch.from_numpy(windows)[:, None],
        scale_factor=float(cell),
        mode="bilinear",
        align_corners=False,
    )
    found: Floats = big[:, 0].numpy()
    return found


@torch.no_grad()
def decode(
    network: CompactNetwork,
    pixels: Tensor,
    classes: Sequence[int],
    shape: tuple[int, int],
    threshold: float,
    nms: float,
    most: int,
    soft: list[tuple[SoftMask, ...]] | None = None,
) -> list[Instances]:
    """Instances of each image of a batch, best first.

    score = sqrt(location's probability x mean mask probability); see :func:`collect` for duplicates.
    ``soft``: takes the soft masks of each image, in the order of its instances.
    """
    scores, features, masks = network(pixels)
    found: list[list[Drawing]] = [[] for _ in range(pixels.shape[0])]
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
        logits = draw_masks(masks[stride], parameters, image, row, column).float().cpu().numpy()
        whose, kind, sure = image.tolist(), label.tolist(), probability.tolist()
        places = row.tolist(), column.tolist()
        softly = soft is not None
        for k, mask, inner, its in drawings(logits, stride, *places, shape, _enlarged, softly):
            score = float(np.sqrt(sure[k] * inner))
            found[whose[k]].append(Drawing(mask, score, classes[kind[k]], its))
    whole = [collect(items, shape, threshold, nms, most) for items in found]
    if soft is not None:
        soft += [its for _, its in whole]
    return [instances for instances, _ in whole]
