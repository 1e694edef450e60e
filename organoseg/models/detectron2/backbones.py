"""Backbones that detectron2's configuration does not know by itself: MobileNetV2, and ViTDet without LazyConfig."""

from __future__ import annotations

from functools import partial
from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone, SimpleFeaturePyramid, ViT
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import Tensor, nn

from organoseg.models.compact.encoder import TAPS, MobileNetV2, Padding
from organoseg.models.detectron2.config import BACKBONE_NODE

#: Blocks of MobileNetV2 up to the end of each stage that can be frozen.
FROZEN_BLOCKS = (0, 1, 3, 6, 13, 17)
NAMES = {4: "res2", 8: "res3", 16: "res4", 32: "res5"}


class GreyMobileNet(Backbone):
    """The compact engine's encoder as a backbone: one grey channel in, four feature maps out."""

    def __init__(self, frozen_blocks: int, padding: Padding) -> None:
        super().__init__()
        self.encoder = MobileNetV2(padding, frozen_blocks)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """(B, 1, H, W) to ``{"res2": stride 4, ..., "res5": stride 32}``."""
        maps = self.encoder(pixels)
        return {name: maps[stride] for stride, name in NAMES.items()}

    def output_shape(self) -> dict[str, Any]:
        """Channels and stride of each map."""
        return {n: ShapeSpec(channels=TAPS[s][1], stride=s) for s, n in NAMES.items()}

    @property
    def size_divisibility(self) -> int:
        """Sides must be multiples of this."""
        return 32


def organoseg_mobilenet_fpn(cfg: Any, input_shape: Any) -> Any:
    """MobileNetV2 under a feature pyramid."""
    frozen = FROZEN_BLOCKS[cfg.MODEL.BACKBONE.FREEZE_AT]
    bottom = GreyMobileNet(frozen, cfg.MODEL[BACKBONE_NODE].PADDING)
    return FPN(
        bottom_up=bottom,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
    )


def organoseg_vitdet(cfg: Any, input_shape: Any) -> Any:
    """A plain vision transformer under a simple pyramid (Li et al. 2022), as detectron2's ViTDet project builds it."""
    node = cfg.MODEL[BACKBONE_NODE]
    quarter = node.DEPTH // 4
    everywhere = {quarter * k - 1 for k in (1, 2, 3, 4)}  # blocks that see the whole image
    net = ViT(
        img_size=node.IMAGE,
        patch_size=16,
        embed_dim=node.DIM,
        depth=node.DEPTH,
        num_heads=node.HEADS,
        drop_path_rate=node.DROP_PATH,
        window_size=node.WINDOW,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        window_block_indexes=[k for k in range(node.DEPTH) if k not in everywhere],
        residual_block_indexes=[],
        use_rel_pos=True,
        out_feature="last_feat",
    )
    return SimpleFeaturePyramid(
        net=net,
        in_feature="last_feat",
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        scale_factors=(4.0, 2.0, 1.0, 0.5),
        top_block=LastLevelMaxPool(),
        norm="LN",
    )


def register() -> None:
    """Tell detectron2 of them, once."""
    for builder in (organoseg_mobilenet_fpn, organoseg_vitdet):
        if builder.__name__ not in BACKBONE_REGISTRY:
            BACKBONE_REGISTRY.register(builder)
