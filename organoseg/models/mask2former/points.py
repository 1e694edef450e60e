"""Points at which masks are compared: uniform for the matching, at uncertain places for the loss (PointRend)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def uniform(masks: int, count: int, device: torch.device) -> Tensor:
    """Random points (masks, count, 2): x and y from 0 to 1. Tests put fixed ones in its place."""
    return torch.rand(masks, count, 2, device=device)


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values (M, P) of maps (M, h, w) at points (M, P, 2) in 0 to 1; 0 outside."""
    grid = (2 * points - 1)[:, :, None]
    return F.grid_sample(maps[:, None], grid, align_corners=False)[:, 0, :, 0]


def sample_features(features: Tensor, points: Tensor) -> Tensor:
    """Bilinear values (C, P) of one image's features (C, h, w) at points (P, 2) in 0 to 1."""
    return F.grid_sample(features[None], (2 * points - 1)[None, None], align_corners=False)[0, :, 0]


@torch.no_grad()
def uncertain(
    masks: Tensor, count: int, oversample: float, importance: float, extent: Tensor
) -> Tensor:
    """Points (M, count, 2) across the image, most of them where mask logits (M, h, w) are near 0.

    Kirillov et al. 2020, "PointRend", 3.1: of ``count * oversample`` random points the ``count * importance`` most
    uncertain ones, the rest random. ``extent`` (2,): the share of the maps' width and height that is image.
    """
    chosen = int(importance * count)
    candidates = uniform(len(masks), int(count * oversample), masks.device)
    doubt = -sample(masks, candidates * extent).abs()
    best = doubt.topk(chosen, 1).indices
    points = candidates.gather(1, best[:, :, None].expand(-1, -1, 2))
    if chosen == count:
        return points
    return torch.cat((points, uniform(len(masks), count - chosen, masks.device)), 1)
