"""Soft masks of any engine: what a teacher says of each pixel around an organoid, not only which ones it gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from organoseg.core import DataError, Instances
from organoseg.core.soft_mask import SoftMask
from organoseg.models.protocol import Segmenter


@dataclass(frozen=True, eq=False)
class SoftInstances:
    """Instances and, in their order, the soft mask of each."""

    instances: Instances
    soft: tuple[SoftMask, ...]

    def __post_init__(self) -> None:
        if len(self.soft) != len(self.instances):
            raise DataError(f"{len(self.instances)} organoids but {len(self.soft)} soft masks")

    @classmethod
    def of(cls, instances: Instances) -> SoftInstances:
        """Instances whose masks are taken as they are."""
        scores = np.clip(instances.scores, 0, 1).tolist()
        made = (SoftMask.of(m, instances.shape, s) for m, s in zip(instances, scores, strict=True))
        return cls(instances, tuple(made))


@runtime_checkable
class SoftSegmenter(Segmenter, Protocol):
    """An engine that can say how sure it is of each pixel."""

    def segment_soft(
        self, pixels: torch.Tensor, score_threshold: float = 0.05
    ) -> list[SoftInstances]:
        """What `segment` gives of each image (B, 1, H, W), with soft masks. No gradient, no randomness."""
        ...


@torch.no_grad()
def soft_instances(
    segmenter: Segmenter, pixels: torch.Tensor, score_threshold: float
) -> list[SoftInstances]:
    """Instances of each image (B, 1, H, W) with soft masks.

    An engine that does not say how sure it is of a pixel is taken at its word: 1 inside its masks and 0 outside.
    """
    if isinstance(segmenter, SoftSegmenter):
        return segmenter.segment_soft(pixels, score_threshold)
    return [SoftInstances.of(found) for found in segmenter.segment(pixels, score_threshold)]
