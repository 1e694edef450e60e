"""Backbones: a grey image in, feature maps at strides 4, 8, 16 and 32 out.

Published weights were trained on RGB photographs from 0 to 1, normalised by ImageNet's mean and deviation. A plane as
:func:`organoseg.core.normalised` leaves it has its percentiles .5 and 99.5 two units apart and its median at 0: it is
shown to them as the photograph whose black and white lie there, in three equal channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from organoseg.core import MissingPartError
from organoseg.models.compact.encoder import TAPS as MOBILENET_TAPS
from organoseg.models.compact.encoder import MobileNetV2, Padding
from organoseg.models.mask2former.positions import full

STRIDES = (4, 8, 16, 32)
#: Mean and standard deviation of ImageNet's red, green and blue, of photographs from 0 to 1.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Channels that patch tokens are brought to at the four strides (methods of Berrada et al. 2023).
TOKEN_CHANNELS = (128, 256, 512, 1024)


class GreyToColour(nn.Module):
    """(B, 1, H, W) of `normalised` planes to (B, 3, H, W) as ImageNet's networks expect photographs."""

    scale: Tensor
    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
        # -1 is black (0), 1 is white (1).
        self.register_buffer("scale", (0.5 / deviation).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("offset", ((0.5 - mean) / deviation).view(1, 3, 1, 1), False)

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels * self.scale + self.offset


class Backbone(nn.Module, ABC):
    """What the network asks of a backbone.

    Attributes
    ----------
    body
        The part that takes published weights.
    channels
        Channels of the four maps.
    """

    body: nn.Module
    channels: tuple[int, ...]

    def __init__(self) -> None:
        super().__init__()
        self.checkpointing = False

    @abstractmethod
    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 1, H, W), H and W multiples of 32, to four maps (B, c, H / s, W / s)."""

    def features(self, pixels: Tensor) -> Any:
        """What the body gives; with ``checkpointing`` computed again for the gradient instead of kept.

        In one piece: the body's activations are never there together with the decoders'. Batch statistics would be
        counted twice, so a body that learns them keeps its activations.
        """
        learns = any(m.training and m.track_running_stats for m in batch_norms(self.body))
        if self.checkpointing and torch.is_grad_enabled() and not learns:
            return checkpoint(self.body, pixels, use_reentrant=False)
        return self.body(pixels)


class PyramidBackbone(Backbone):
    """A body of `transformers` that makes the four maps itself: ResNet, Swin, ConvNeXt."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.colour = GreyToColour()
        self.body = body
        self.channels = tuple(body.channels)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return list(self.features(self.colour(pixels)).feature_maps)


class TokenBackbone(Backbone):
    """A vision transformer, whose patch tokens are brought to the four strides.

    As in the paper: the last layer's tokens, 1x1 convolutions to 128, 256, 512 and 1024 channels, bilinear resizing.
    The geometry is exact for any patch: a cell of each map is interpolated at its own centre.
    """

    def __init__(self, body: Any, patch: int) -> None:
        super().__init__()
        self.colour = GreyToColour()
        self.body = body
        self.patch = patch
        self.channels = TOKEN_CHANNELS
        width = body.channels[-1]
        self.projections = nn.ModuleList(nn.Conv2d(width, c, 1) for c in TOKEN_CHANNELS)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        height, width = pixels.shape[2:]
        bottom, right = -height % self.patch, -width % self.patch
        if bottom or right:
            pixels = F.pad(pixels, (0, right, 0, bottom), mode="replicate")
        tokens = self.features(self.colour(pixels)).feature_maps[-1]
        maps = []
        for stride, projection in zip(STRIDES, self.projections, strict=True):
            # The 1x1 convolution and the interpolation commute; first is cheaper.
            small = projection(tokens)
            if stride != self.patch:
                # More cells than are needed where the patch does not divide the image; those beyond it are cut off.
                small = F.interpolate(
                    full(small), scale_factor=self.patch / stride, mode="bilinear"
                )
            maps.append(small[:, :, : height // stride, : width // stride])
        return maps


class MobileNetBackbone(Backbone):
    """The compact engine's encoder: grey from the start, no batch normalisation."""

    def __init__(self, padding: Padding) -> None:
        super().__init__()
        self.body = MobileNetV2(padding, frozen_blocks=0)
        self.channels = tuple(MOBILENET_TAPS[s][1] for s in STRIDES)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        taps = self.features(pixels)
        return [taps[s] for s in STRIDES]


@dataclass(frozen=True)
class Published:
    """A family's class and configuration in `transformers`.

    Parameters
    ----------
    module, name
        Where the body's class lives, ``transformers.models.<module>``, and the beginning of its classes' names.
    config
        What its configuration differs in from the default.
    patch
        Side of a token, px; 0 where the body makes a pyramid.
    unused
        Parameters (beginnings of their names) that its feature maps do not depend on.
    """

    module: str
    name: str
    config: Mapping[str, Any]
    patch: int = 0
    unused: tuple[str, ...] = ()


def _resnet(depths: tuple[int, ...], basic: bool = False) -> Published:
    sizes = (64, 128, 256, 512) if basic else (256, 512, 1024, 2048)
    kind = "basic" if basic else "bottleneck"
    return Published(
        "resnet", "ResNet", {"depths": depths, "hidden_sizes": sizes, "layer_type": kind}
    )


def _swin(width: int, depths: tuple[int, ...], heads: tuple[int, ...], window: int) -> Published:
    config = {
        "embed_dim": width, "depths": depths, "num_heads": heads, "window_size": window, "drop_path_rate": 0.3,
        "image_size": 224 if window == 7 else 384,
    }  # fmt: skip
    return Published("swin", "Swin", config, unused=("swin.layernorm.",))


def _convnext(
    depths: tuple[int, ...], sizes: tuple[int, ...], family: str = "ConvNext"
) -> Published:
    config = {"depths": list(depths), "hidden_sizes": list(sizes)}
    module = "convnext" if family == "ConvNext" else "dinov3_convnext"
    unused = () if family == "ConvNext" else ("model.layer_norm.",)
    return Published(module, family, config, unused=unused)


def _dinov2(width: int, layers: int, heads: int) -> Published:
    config = {
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "image_size": 518,
    }  # fmt: skip
    return Published("dinov2", "Dinov2", config, 14, ("embeddings.mask_token",))


def _dinov3(width: int, layers: int, heads: int) -> Published:
    config = {
        "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_register_tokens": 4, "pos_embed_rescale": None,
    }  # fmt: skip
    return Published("dinov3_vit", "DINOv3ViT", config, 16, ("embeddings.mask_token",))


_TINY, _SMALL = (96, 192, 384, 768), (3, 3, 27, 3)
#: Bodies of `transformers` by the name that a recipe gives.
LIBRARY: dict[str, Published] = {
    "resnet18": _resnet((2, 2, 2, 2), basic=True),
    "resnet50": _resnet((3, 4, 6, 3)),
    "resnet101": _resnet((3, 4, 23, 3)),
    "swin_t": _swin(96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
    "swin_s": _swin(96, (2, 2, 18, 2), (3, 6, 12, 24), 7),
    "swin_b": _swin(128, (2, 2, 18, 2), (4, 8, 16, 32), 12),
    "swin_l": _swin(192, (2, 2, 18, 2), (6, 12, 24, 48), 12),
    "convnext_tiny": _convnext((3, 3, 9, 3), _TINY),
    "convnext_small": _convnext(_SMALL, _TINY),
    "convnext_base": _convnext(_SMALL, (128, 256, 512, 1024)),
    "dinov2_s": _dinov2(384, 12, 6),
    "dinov2_b": _dinov2(768, 12, 12),
    "dinov2_l": _dinov2(1024, 24, 16),
    "dinov3_s": _dinov3(384, 12, 6),
    "dinov3_b": _dinov3(768, 12, 12),
    "dinov3_l": _dinov3(1024, 24, 16),
    "dinov3_convnext_tiny": _convnext((3, 3, 9, 3), _TINY, "DINOv3ConvNext"),
    "dinov3_convnext_small": _convnext(_SMALL, _TINY, "DINOv3ConvNext"),
}


def library(name: str) -> Any:
    """A module of `transformers.models`; MissingPartError says how to install it."""
    import importlib

    try:
        return importlib.import_module(f"transformers.models.{name}")
    except ImportError as error:
        raise MissingPartError(
            f"the engine mask2former needs transformers, which cannot be imported here ({error})",
            remedy="Type: pip install 'organoseg[mask2former]'",
        ) from error


def _without_hub(make: Callable[[], Any]) -> Any:
    """A module with random weights from torch's generator, without the library's words about unusual backbones."""
    import logging

    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return make()
    finally:
        logger.setLevel(level)


def make_backbone(name: str, padding: Padding, drop_path: float | None = None) -> Backbone:
    """A backbone with random weights; nothing is downloaded.

    Parameters
    ----------
    padding
        Convention of mobilenet_v2's weights.
    drop_path
        Stochastic depth, where the body has it; None: as published.
    """
    if name == "mobilenet_v2":
        return MobileNetBackbone(padding)
    published = LIBRARY[name]
    config = dict(published.config)
    if drop_path is not None and published.module != "resnet":
        config["drop_path_rate"] = drop_path
    where = library(published.module)
    layers = config.get("num_hidden_layers")
    stages = [f"stage{layers}"] if published.patch else [f"stage{i}" for i in range(1, 5)]
    settings = getattr(where, f"{published.name}Config")(**config, out_features=stages)
    body = _without_hub(lambda: getattr(where, f"{published.name}Backbone")(settings))
    for key, parameter in body.named_parameters():
        if key.startswith(published.unused) and published.unused:
            parameter.requires_grad_(False)  # several processes would wait for its gradient
    return TokenBackbone(body, published.patch) if published.patch else PyramidBackbone(body)


def batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    """Its batch normalisation layers."""
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
