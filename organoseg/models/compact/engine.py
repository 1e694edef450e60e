"""The compact engine: one stage, overlap-keeping, small enough to train on a laptop's processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from organoseg.core import Instances
from organoseg.core.soft_mask import SoftMask
from organoseg.models.compact.decode import decode
from organoseg.models.compact.encoder import Padding
from organoseg.models.compact.layout import LEVELS
from organoseg.models.compact.loss import compact_losses, positives
from organoseg.models.compact.network import CompactNetwork
from organoseg.models.imitation import Imitation
from organoseg.models.protocol import FeatureSpread, Target
from organoseg.models.soft import SoftInstances

ENCODER_RATE = 0.3  # a pre-trained encoder moves slower than the fresh heads


class CompactSegmenter(nn.Module):
    """See :class:`organoseg.models.protocol.Segmenter`.

    Parameters
    ----------
    classes
        COCO category ids the engine tells apart, in the order of its score channels.
    max_instances
        Most instances returned for an image.
    nms
        Two masks of higher IoU than this are one organoid.
    """

    def __init__(
        self,
        classes: Sequence[int] = (1,),
        width: int = 64,
        padding: Padding = "tensorflow",
        frozen_blocks: int = 3,
        max_instances: int = 500,
        nms: float = 0.6,
    ) -> None:
        super().__init__()
        self.network = CompactNetwork(len(classes), width, padding, frozen_blocks)
        self.classes = tuple(classes)
        #: Options that build this engine again; written into its model folder.
        self.options: dict[str, Any] = {}
        self.max_instances = max_instances
        self.nms = nms
        #: Set where a batch is computed in parts; see the protocol.
        self.normaliser: Callable[[Tensor], Tensor] | None = None
        #: Set by methods that vary features; see the protocol.
        self.spread: FeatureSpread | None = None
        #: What soft masks of targets count; None: nothing.
        self.imitation: Imitation | None = None

    @property
    def class_tensors(self) -> dict[str, str]:
        """The score's filters are all that knows classes; see the protocol."""
        return dict.fromkeys(("network.score.weight", "network.score.bias"), "score")

    @property
    def encoder(self) -> nn.Module:
        """The part that takes pre-trained weights."""
        return self.network.encoder

    @property
    def spread_over(self) -> tuple[int, int]:
        """Classes, "nothing" among them, and features before the score."""
        return len(self.classes) + 1, int(self.network.score.in_channels)

    @staticmethod
    def _pad(pixels: Tensor) -> Tensor:
        """Reflect-pad (B, 1, H, W) behind to multiples of the coarsest stride."""
        step = LEVELS[-1]
        bottom, right = -pixels.shape[2] % step, -pixels.shape[3] % step
        if not bottom and not right:
            return pixels
        reflect = bottom < pixels.shape[2] and right < pixels.shape[3]
        return F.pad(pixels, (0, right, 0, bottom), mode="reflect" if reflect else "replicate")

    def losses(self, pixels: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Weighted ``score``, ``dice`` and ``pixel`` terms of a batch (B, 1, H, W), H and W multiples of 32.

        Where a teacher is imitated: ``zero_order`` and ``first_order`` too.
        """
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return compact_losses(
            self.network,
            pixels,
            targets,
            self.classes,
            self.normaliser,
            self.spread,
            self.imitation,
        )

    def denominators(self, shape: tuple[int, int], targets: Sequence[Target]) -> Tensor:
        """What the losses of a batch of images of this shape are divided by, float32 (1,)."""
        return torch.tensor([positives(targets, shape, self.classes)])

    @torch.no_grad()
    def segment(self, pixels: Tensor, score_threshold: float = 0.05) -> list[Instances]:
        """Instances of each image (B, 1, H, W) of any size, best score first."""
        return self._decoded(pixels, score_threshold)

    @torch.no_grad()
    def segment_soft(self, pixels: Tensor, score_threshold: float = 0.05) -> list[SoftInstances]:
        """The same with soft masks."""
        soft: list[tuple[SoftMask, ...]] = []
        found = self._decoded(pixels, score_threshold, soft)
        return [SoftInstances(*one) for one in zip(found, soft, strict=True)]

    def _decoded(
        self, pixels: Tensor, threshold: float, soft: list[tuple[SoftMask, ...]] | None = None
    ) -> list[Instances]:
        shape = (pixels.shape[2], pixels.shape[3])
        padded = self._pad(pixels).contiguous(memory_format=torch.channels_last)
        return decode(
            self.network, padded, self.classes, shape, threshold, self.nms, self.max_instances, soft
        )

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Encoder slower than the heads; no decay on biases and normalisation."""
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, p in self.network.named_parameters():
            if p.requires_grad:
                groups.setdefault((name.startswith("encoder."), p.ndim > 1), []).append(p)
        return [
            {
                "params": parameters,
                "lr": learning_rate * (ENCODER_RATE if encoder else 1.0),
                "weight_decay": weight_decay if decays else 0.0,
            }
            for (encoder, decays), parameters in groups.items()
        ]
