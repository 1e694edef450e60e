"""A network small enough for tests, and organoids to show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from organoseg.core import Instances
from organoseg.models.mask2former.engine import Mask2FormerSegmenter
from organoseg.models.protocol import Target
from organoseg.models.registry import build_engine

OPTIONS: dict[str, Any] = {
    "backbone": "mobilenet_v2", "queries": 12, "hidden": 32, "heads": 4, "ffn": 32, "encoder_ffn": 32,
    "encoder_layers": 1, "decoder_layers": 2, "points": 256,
}  # fmt: skip


def engine(
    classes: tuple[int, ...] = (1,), weights: str | None = None, seed: int = 0, **options: Any
) -> Mask2FormerSegmenter:
    """A fresh small engine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = build_engine("mask2former", classes, OPTIONS | options, weights)
    assert isinstance(built, Mask2FormerSegmenter)
    return built


def discs(
    count: int,
    seed: int = 0,
    shape: tuple[int, int] = (64, 64),
    radius: tuple[float, float] = (7, 12),
) -> tuple[NDArray[np.float32], Instances]:
    """A picture whose organoids, discs, add up where they overlap."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    pixels = np.full(shape, -0.5, np.float32)
    masks = []
    for _ in range(count):
        y, x = rng.uniform(12, shape[0] - 12), rng.uniform(12, shape[1] - 12)
        bits = (yy - y) ** 2 + (xx - x) ** 2 < rng.uniform(*radius) ** 2
        masks.append(bits)
        pixels += 0.7 * bits
    if not masks:
        return pixels, Instances.empty(shape)
    return pixels, Instances.from_dense(np.stack(masks))


def batch(
    *counts: int, shape: tuple[int, int] = (64, 64), seed: int = 0
) -> tuple[torch.Tensor, list[Target]]:
    """Pixels (B, 1, H, W) and labelled targets."""
    made = [discs(n, seed + i, shape) for i, n in enumerate(counts)]
    pixels = torch.from_numpy(np.stack([p for p, _ in made]))[:, None]
    return pixels, [Target.labelled(i) for _, i in made]
