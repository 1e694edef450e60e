"""The mask2former engine: masked-attention queries, one a possible organoid."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from organoseg.core import Instances
from organoseg.core.soft_mask import SoftMask
from organoseg.models.mask2former.backbones import batch_norms
from organoseg.models.mask2former.criterion import set_losses
from organoseg.models.mask2former.decode import Frame, decode
from organoseg.models.mask2former.network import Mask2FormerNetwork, Predictions
from organoseg.models.mask2former.options import Mask2FormerOptions, parse_options
from organoseg.models.mask2former.parameters import parameter_groups
from organoseg.models.mask2former.targets import PackedTargets, divisors, pack_targets
from organoseg.models.protocol import (
    CappedResultWarning,
    CrowdedTargetWarning,
    QueryPredictions,
    Target,
)
from organoseg.models.soft import SoftInstances
from organoseg.models.stitch import stitch
from organoseg.models.tiles import Window, windows

#: Coarsest cell of the network, px of what it sees.
COARSEST = 32
#: Cells of the mask features, px of what the network sees.
FINEST = 4


class Mask2FormerSegmenter(nn.Module):
    """See :class:`organoseg.models.protocol.QuerySegmenter`.

    Parameters
    ----------
    classes
        COCO category ids the engine tells apart, in the order of its logits.
    settings
        With nothing left open: ``frozen_norms``, ``backbone_rate`` and ``padding`` are decided.
    """

    #: Of what the network sees. Channels last is the faster one (docs/benchmarks.md, layout).
    memory_format = torch.channels_last

    def __init__(
        self, classes: Sequence[int], settings: Mask2FormerOptions, network: Mask2FormerNetwork
    ) -> None:
        super().__init__()
        self.network = network
        self.classes = tuple(classes)
        self.settings = settings
        #: Options that build this engine again; written into its model folder.
        self.options: dict[str, Any] = settings.model_dump()
        self.max_instances = settings.most
        #: Set by a loop over several processes; see the protocol.
        self.normaliser: Callable[[Tensor], Tensor] | None = None
        #: What to raise where an image holds more organoids than are returned.
        self.capacity_option = "queries" if settings.most >= settings.queries else "max_instances"
        self._crowded = (0, 0, 0)
        self._compiled: Callable[[Tensor], Predictions] | None = None
        if settings.backbone_rate == 0:
            network.backbone.body.requires_grad_(False)
        self.gradient_checkpointing = settings.gradient_checkpointing
        self.train(self.training)

    @property
    def class_tensors(self) -> dict[str, str]:
        """The class predictor alone: queries and masks know no class; see the protocol."""
        names = ("network.class_predictor.weight", "network.class_predictor.bias")
        return dict.fromkeys(names, "score")

    @property
    def encoder(self) -> nn.Module:
        """The part that takes pre-trained weights."""
        return self.network.backbone.body

    @property
    def stride(self) -> int:
        """Grid (px) on which windows over an image see what the whole image's network sees."""
        return {1.0: COARSEST, 1.5: 2 * COARSEST, 2.0: COARSEST // 2}[self.settings.upscale]

    @property
    def gradient_checkpointing(self) -> bool:
        """Compute activations twice instead of keeping them."""
        return self.network.checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, on: bool) -> None:
        self.network.checkpointing = on
        self.network.backbone.checkpointing = on

    def train(self, mode: bool = True) -> Mask2FormerSegmenter:
        """Frozen batch normalisation keeps to the statistics of its pre-training.

        A batch of a few organoid crops has other means from one step to the next, and the teacher, which looks at
        the running ones, would see another network than the student trains.
        """
        super().train(mode)
        if self.settings.frozen_norms:
            for norm in batch_norms(self.network.backbone):
                norm.eval()
                norm.requires_grad_(False)
        return self

    def _look(self, pixels: Tensor) -> Tensor:
        """Padded behind to whole cells by repeating the border, and enlarged.

        Repeated, not mirrored: mirrored organoids would be found, or taught as background.
        """
        step = self.stride
        bottom, right = -pixels.shape[2] % step, -pixels.shape[3] % step
        if bottom or right:
            pixels = F.pad(pixels, (0, right, 0, bottom), mode="replicate")
        if self.settings.upscale != 1:
            pixels = F.interpolate(
                pixels, scale_factor=self.settings.upscale, mode="bilinear", align_corners=False
            )
        return pixels.contiguous(memory_format=self.memory_format)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over: not the compiled pass, which belongs to this network's weights."""
        return {**super().__getstate__(), "_compiled": None}

    def _train_pass(self, pixels: Tensor) -> Predictions:
        """The network's pass over training crops, compiled where that was asked for.

        Crops are all of one size; images are not, and each size would be compiled anew.
        """
        if not (self.settings.compile and pixels.is_cuda):
            return self._predict(pixels)
        if self._compiled is None:
            self._compiled = torch.compile(self.network.forward)
        return self._compiled(self._look(pixels))

    def _predict(self, pixels: Tensor) -> Predictions:
        predictions: Predictions = self.network(self._look(pixels))
        return predictions

    def losses(self, pixels: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Weighted ``class``, ``mask`` and ``dice`` terms of a batch (B, 1, H, W), summed over all layers.

        Raises
        ------
        DataError
            A target does not fit its image.
        RunError
            The network's predictions are not finite.
        """
        shape = (pixels.shape[2], pixels.shape[3])
        packed = pack_targets(targets, shape, self.classes, pixels.device)
        self._warn_of_crowds(packed, len(targets))
        predictions = self._train_pass(pixels)
        extent = self._extent(shape, pixels.device)
        terms = set_losses(
            predictions,
            packed,
            self.settings,
            extent,
            self._divisors(pixels, targets),
            self.gradient_checkpointing,
        )
        return {"class": terms.classes.sum(), "mask": terms.mask.sum(), "dice": terms.dice.sum()}

    def denominators(self, shape: tuple[int, int], targets: Sequence[Target]) -> Tensor:
        """What the losses of a batch of images of this shape are divided by, float32 (2,)."""
        return torch.tensor(
            divisors(targets, self.settings.queries, self.settings.no_object_weight)
        )

    def _divisors(self, pixels: Tensor, targets: Sequence[Target]) -> Tensor:
        shape = (pixels.shape[2], pixels.shape[3])
        local = self.denominators(shape, targets).to(pixels.device, non_blocking=True)
        return local.clamp(min=1) if self.normaliser is None else self.normaliser(local)

    def _extent(self, shape: tuple[int, int], device: torch.device) -> Tensor:
        padded = [side + -side % self.stride for side in shape]
        share = torch.tensor([shape[1] / padded[1], shape[0] / padded[0]])
        return share.to(device, non_blocking=True)

    def _warn_of_crowds(self, packed: PackedTargets, batch: int) -> None:
        """Say what training loses where an image holds more organoids than there are queries.

        At the first such image, and whenever their number has doubled.
        """
        counts = np.bincount(packed.images[~packed.ignored], minlength=batch)
        lost = np.maximum(counts - self.settings.queries, 0)
        if not lost.any():
            return
        images, organoids, said = self._crowded
        images, organoids = images + int((lost > 0).sum()), organoids + int(lost.sum())
        if images >= 2 * said:
            said = images
            warnings.warn(
                CrowdedTargetWarning(
                    f"a training image holds {counts.max()} organoids, the engine has "
                    f"{self.settings.queries} queries: {organoids} organoids in {images} images so far taught "
                    "nothing. Raise model.options.queries to twice the most crowded crop, or use smaller crops."
                ),
                stacklevel=3,
            )
        self._crowded = (images, organoids, said)

    def train_on(self, side: int) -> None:
        """Be told the side (px) of the training crops, which is what the network sees at once from then on.

        Raises
        ------
        UsageError
            A crop that the network cannot look at.
        """
        if self.settings.window is None:
            self.settings = parse_options({**self.options, "window": side})
            self.options = self.settings.model_dump()

    def capacity(self, shape: tuple[int, int]) -> int:
        """Most instances returned for an image of this shape; each window has as many queries."""
        return self.max_instances * len(self._windows(shape))

    def _windows(self, shape: tuple[int, int]) -> tuple[Window, ...]:
        """Windows over an image, each of which overlaps the next by half where the grid allows."""
        side = self.settings.window
        if side is None or max(shape) <= side:
            return (Window(0, 0, *shape, shape),)
        return windows(shape, side, min(side // 2, max(side - self.stride, 0)), self.stride)

    @torch.no_grad()
    def segment(self, pixels: Tensor, score_threshold: float = 0.05) -> list[Instances]:
        """Instances of each image (B, 1, H, W) of any size, best score first."""
        shape = (pixels.shape[2], pixels.shape[3])
        parts = self._windows(shape)
        if len(parts) == 1:
            return self._segment(pixels, score_threshold)
        seen: list[list[Instances]] = [[] for _ in range(len(pixels))]
        for part in parts:
            found = self._segment(pixels[:, :, *part.slices], score_threshold)
            self._warn_of_full_windows(found)
            for image, instances in zip(seen, found, strict=True):
                image.append(instances)
        return [stitch(shape, parts, image) for image in seen]

    def _warn_of_full_windows(self, found: Sequence[Instances]) -> None:
        if max(map(len, found)) >= self.max_instances:
            text = (
                f"a window of {self.settings.window} px holds {self.max_instances} organoids, as many as the engine "
                f"returns; some may be missing. Raise model.options.{self.capacity_option}."
            )
            warnings.warn(CappedResultWarning(text), stacklevel=4)

    @torch.no_grad()
    def segment_soft(self, pixels: Tensor, score_threshold: float = 0.05) -> list[SoftInstances]:
        """The same with soft masks; an image that is looked at in windows has its masks as they are."""
        shape = (pixels.shape[2], pixels.shape[3])
        if len(self._windows(shape)) > 1:
            return [SoftInstances.of(found) for found in self.segment(pixels, score_threshold)]
        frame = Frame(shape, FINEST / self.settings.upscale)
        predictions = self._predict(pixels)
        soft: list[list[SoftMask]] = []
        found = decode(predictions, self.classes, frame, self.settings, score_threshold, soft)
        return [SoftInstances(one, tuple(its)) for one, its in zip(found, soft, strict=True)]

    def _segment(self, pixels: Tensor, score_threshold: float) -> list[Instances]:
        frame = Frame((pixels.shape[2], pixels.shape[3]), FINEST / self.settings.upscale)
        predictions = self._predict(pixels)
        return decode(predictions, self.classes, frame, self.settings, score_threshold)

    @torch.no_grad()
    def queries(self, pixels: Tensor) -> QueryPredictions:
        """What each query says of each image (B, 1, H, W); masks on a grid of 4 px of the image."""
        predictions = self._predict(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            probabilities = predictions.classes[-1].float().softmax(-1)
            features = predictions.features.float()
            if self.settings.upscale != 1:
                # A mask is linear in the features: a coarser grid for them is one for all masks.
                features = F.interpolate(
                    features,
                    scale_factor=1 / self.settings.upscale,
                    mode="bilinear",
                    align_corners=False,
                    antialias=True,
                )
            rows, columns = (-(-side // FINEST) for side in pixels.shape[2:])
            features = features[:, :, :rows, :columns]
            embeddings = predictions.embeddings[-1].float()
            return QueryPredictions(
                probabilities, torch.einsum("bqc,bchw->bqhw", embeddings, features)
            )

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Backbone slower; no decay for normalisation, embeddings and position tables, as in the paper."""
        rate = self.settings.backbone_rate
        return parameter_groups(
            self.network, learning_rate, weight_decay, 1.0 if rate is None else rate
        )
