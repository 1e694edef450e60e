"""Backbone, pixel decoder and query decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from organoseg.models.mask2former.backbones import Backbone, library
from organoseg.models.mask2former.options import Mask2FormerOptions
from organoseg.models.mask2former.pixel_decoder import decode_pixels
from organoseg.models.mask2former.query_decoder import decode_queries
from organoseg.models.published import adopt_names


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the network says of a batch, after every layer, the start first.

    Parameters
    ----------
    classes
        Logits (L, B, Q, K + 1); "no object" is last.
    embeddings
        (L, B, Q, C). The mask logits of a query are the product of its embedding with the features.
    features
        (B, C, h, w): on a grid of 4 px of what the network saw.
    """

    classes: Tensor
    embeddings: Tensor
    features: Tensor

    def masks(self, layer: int = -1) -> Tensor:
        """Mask logits (B, Q, h, w) of one layer."""
        return torch.einsum("bqc,bchw->bqhw", self.embeddings[layer], self.features)


def _parts(options: Mask2FormerOptions, channels: tuple[int, ...], classes: int) -> Any:
    """Pixel decoder, transformer and class predictor of the library, initialised as it does."""
    module = library("mask2former.modeling_mask2former")
    config = library("mask2former").Mask2FormerConfig(
        feature_size=options.hidden,
        mask_feature_size=options.hidden,
        hidden_dim=options.hidden,
        encoder_feedforward_dim=options.encoder_ffn,
        dim_feedforward=options.ffn,
        encoder_layers=options.encoder_layers,
        decoder_layers=options.decoder_layers + 1,
        num_attention_heads=options.heads,
        num_queries=options.queries,
        num_labels=classes,
    )

    class Parts(module.Mask2FormerPreTrainedModel):  # type: ignore[name-defined]
        """Without a backbone: the library would fill a strange one with its own random values."""

        def __init__(self) -> None:
            super().__init__(config)
            self.pixel_decoder = module.Mask2FormerPixelDecoder(config, list(channels))
            self.transformer = module.Mask2FormerTransformerModule(options.hidden, config)
            self.class_predictor = nn.Linear(options.hidden, classes + 1)
            self.post_init()

    return Parts()


class Mask2FormerNetwork(nn.Module):
    """(B, 1, H, W), H and W multiples of 32, to `Predictions`."""

    def __init__(self, options: Mask2FormerOptions, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        parts = _parts(options, backbone.channels, classes)
        self.pixel_decoder: Any = parts.pixel_decoder
        self.transformer: Any = parts.transformer
        self.class_predictor: nn.Linear = parts.class_predictor
        self.checkpointing = False
        self.register_load_state_dict_pre_hook(adopt_names)

    def forward(self, pixels: Tensor) -> Predictions:
        maps = self.backbone(pixels)
        features, coarse = decode_pixels(self.pixel_decoder, maps, self.checkpointing)
        states, embeddings = decode_queries(self.transformer, features, coarse, self.checkpointing)
        return Predictions(self.class_predictor(states), embeddings, features)
