"""The detectron2 engine: its networks behind our protocol."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.modeling import build_model
from detectron2.structures import ImageList
from torch import Tensor, nn
from torch.nn import functional as F

from organoseg.core import Instances, UsageError
from organoseg.models.detectron2.backbones import register
from organoseg.models.detectron2.config import build_config
from organoseg.models.detectron2.decode import decode
from organoseg.models.detectron2.losses import network_losses
from organoseg.models.detectron2.mask_outputs import answer_exactly, begin_wide
from organoseg.models.detectron2.options import Detectron2Options
from organoseg.models.detectron2.precision import exact
from organoseg.models.detectron2.targets import batch_targets
from organoseg.models.detectron2.weights import CLASSWISE
from organoseg.models.protocol import CappedResultWarning, Target

#: A normalised pixel of 0 is the middle of what photographs hold, -1 and 1 are black and white.
MIDDLE = 127.5
# detectron2's anchors call it so; what torch says of that is not for its users.
warnings.filterwarnings("ignore", "torch.meshgrid: in an upcoming release")


def _alone(count: Tensor) -> Tensor:
    return count


def _network(options: Detectron2Options, classes: int) -> Any:
    cfg = build_config(options, classes)
    try:
        return build_model(cfg)
    except (ImportError, KeyError, ValueError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"detectron2 cannot build this network: {type(error).__name__} {error}",
            where="model.options",
            remedy="Deformable convolutions need detectron2's compiled operators (organoseg doctor).",
        ) from error


class Detectron2Segmenter(nn.Module):
    """See :class:`organoseg.models.protocol.Segmenter`.

    Parameters
    ----------
    classes
        COCO category ids the engine tells apart, in the order of its score channels.
    options
        Without nulls (:func:`organoseg.models.detectron2.options.resolved`).
    """

    def __init__(self, classes: Sequence[int], options: Detectron2Options) -> None:
        super().__init__()
        register()
        self.classes = tuple(classes)
        self.chosen = options
        #: Options that build this engine again; written into its model folder.
        self.options: dict[str, Any] = options.model_dump(mode="json")
        self.max_instances = int(options.max_instances or 100)
        #: Set by a run of several processes: the local count to the mean over all of them.
        self.normaliser: Callable[[Tensor], Tensor] | None = None
        self.network = _network(options, len(self.classes))
        begin_wide(self.network.roi_heads)
        answer_exactly(self.network.roi_heads)
        self.grey = "mobilenet" in options.architecture and not options.config
        #: What weights do not show, but only mean something with: a teacher must have the same.
        self.layout = (options.anchors, options.upscale, options.pixel_mean, options.pixel_std)
        self._crowded = False

    @property
    def class_tensors(self) -> dict[str, str]:
        """Scores tell classes apart; boxes and masks may be drawn for each; see the protocol."""
        names = (f"network.{name}" for name in self.network.state_dict())
        return {n: "score" if "cls_score" in n else "place" for n in names if CLASSWISE.search(n)}

    # -- what the network sees -------------------------------------------------------------------

    def seen_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which an image enters the network."""
        o = self.chosen
        factor = o.upscale
        if o.short_side is not None:
            factor = o.short_side / min(height, width)
            factor = min(factor, o.long_side / max(height, width))
        return max(round(height * factor), 1), max(round(width * factor), 1)

    def _images(self, pixels: Tensor) -> Any:
        """(B, 1, H, W) grey as detectron2's ``ImageList``: enlarged, as photographs, padded behind with zeros."""
        size = self.seen_size(pixels.shape[2], pixels.shape[3])
        if size != (pixels.shape[2], pixels.shape[3]):
            shrinks = size[0] < pixels.shape[2]
            pixels = F.interpolate(
                pixels, size=size, mode="bilinear", align_corners=False, antialias=shrinks
            )
        if not self.grey:
            mean, std = self.network.pixel_mean, self.network.pixel_std
            pixels = ((pixels + 1) * MIDDLE - mean) / std
        step = max(self.network.backbone.size_divisibility, 1)
        padded = F.pad(pixels, (0, -size[1] % step, 0, -size[0] % step))
        return ImageList(padded, [size] * len(pixels))

    # -- the protocol ----------------------------------------------------------------------------

    def losses(self, pixels: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Weighted terms of a batch (B, 1, H, W): of proposals, of regions' scores and boxes, and of masks."""
        self._warn_of_crowds(targets)
        images = self._images(pixels)
        batch = batch_targets(
            targets,
            self.classes,
            (pixels.shape[2], pixels.shape[3]),
            images.image_sizes[0],
            pixels.device,
            self.chosen.pseudo_boxes,
        )
        with self._mode(True):
            return network_losses(self.network, images, batch, self.normaliser or _alone)

    @torch.no_grad()
    def segment(self, pixels: Tensor, score_threshold: float = 0.05) -> list[Instances]:
        """Instances of each image (B, 1, H, W) of any size, best score first."""
        images = self._images(pixels)
        heads = self.network.roi_heads
        predictors = heads.box_predictor
        for predictor in predictors if isinstance(predictors, nn.ModuleList) else [predictors]:
            predictor.test_score_thresh = score_threshold
        with self._mode(False):
            features = exact(self.network.backbone(images.tensor))
            proposals, _ = self.network.proposal_generator(images, features, None)
            found, _ = heads(images, features, proposals, None)
        o = self.chosen
        shape = (pixels.shape[2], pixels.shape[3])
        return decode(
            found, self.classes, shape, images.image_sizes[0], score_threshold,
            o.mask_nms, o.mask_score, self.max_instances,
        )  # fmt: skip

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Backbone slower than the heads where it was pre-trained; no decay on biases and normalisation."""
        rate = float(self.chosen.encoder_rate or 1.0)
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, p in self.network.named_parameters():
            if p.requires_grad:
                encoder = name.startswith(("backbone.bottom_up.", "backbone.net.", "backbone.res"))
                groups.setdefault((encoder, p.ndim > 1), []).append(p)
        return [
            {
                "params": parameters,
                "lr": learning_rate * (rate if encoder else 1.0),
                "weight_decay": weight_decay if decays else 0.0,
            }
            for (encoder, decays), parameters in groups.items()
        ]

    @contextmanager
    def _mode(self, training: bool) -> Iterator[None]:
        """detectron2's parts ask their mode what to do; a caller's mode is given back to them."""
        was = self.network.training
        if was != training:
            self.network.train(training)
        try:
            yield
        finally:
            if was != training:
                self.network.train(was)

    def _warn_of_crowds(self, targets: Sequence[Target]) -> None:
        room = int(
            self.network.roi_heads.batch_size_per_image * self.network.roi_heads.positive_fraction
        )
        fullest = max((int((~t.ignored).sum()) for t in targets), default=0)
        if fullest > min(room, self.max_instances) and not self._crowded:
            self._crowded = True
            text = (
                f"a training crop holds {fullest} organoids; the network learns at most {room} of a crop and "
                f"returns {self.max_instances}: the others are lost. Raise model.options.regions_sampled and "
                "max_instances, or set them to null."
            )
            warnings.warn(CappedResultWarning(text), stacklevel=3)
