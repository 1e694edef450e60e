"""From a recipe's words to a mask2former engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from organoseg.models.compact.encoder import Padding
from organoseg.models.mask2former.backbones import Backbone, make_backbone
from organoseg.models.mask2former.engine import Mask2FormerSegmenter
from organoseg.models.mask2former.network import Mask2FormerNetwork
from organoseg.models.mask2former.options import Mask2FormerOptions, parse_options
from organoseg.models.published import load_backbone, load_start, resolve
from organoseg.models.weights import (
    layout_of,
    load_encoder,
    padding_of,
    read_tensors,
)

#: The paper's learning rate of a pre-trained backbone, over that of the head.
BACKBONE_RATE = 0.1


def _mobilenet(chosen: Mask2FormerOptions, encoder_weights: str | None) -> tuple[Backbone, Padding]:
    padding: Padding = chosen.padding or "symmetric"
    if encoder_weights is None:
        return make_backbone("mobilenet_v2", padding), padding
    path = resolve(encoder_weights)
    tensors = read_tensors(path)
    padding = chosen.padding or padding_of(layout_of(tensors))
    backbone = make_backbone("mobilenet_v2", padding)
    load_encoder(backbone.body, tensors, path)
    return backbone, padding


def build(
    classes: Sequence[int], options: Mapping[str, Any], encoder_weights: str | None
) -> torch.nn.Module:
    """See :func:`organoseg.models.registry.build_engine`.

    A backbone with pre-trained weights learns at a tenth of the head's rate and keeps its batch statistics; a random
    one learns at the full rate. What was decided is in the engine's ``options``, so that a model folder rebuilds it.
    """
    chosen = parse_options(options)
    padding: Padding | None = None
    if chosen.backbone == "mobilenet_v2":
        backbone, padding = _mobilenet(chosen, encoder_weights)
    else:
        backbone = make_backbone(chosen.backbone, "symmetric", chosen.drop_path)
        if encoder_weights is not None:
            path = resolve(encoder_weights)
            load_backbone(backbone.body, read_tensors(path), path)
    trained = encoder_weights is not None or chosen.start is not None
    decided = {
        "padding": padding,
        "frozen_norms": trained if chosen.frozen_norms is None else chosen.frozen_norms,
        "backbone_rate": (BACKBONE_RATE if trained else 1.0)
        if chosen.backbone_rate is None
        else chosen.backbone_rate,
    }
    settings = chosen.model_copy(update=decided)
    network = Mask2FormerNetwork(settings, backbone, len(classes))
    if chosen.start is not None:
        load_start(network, resolve(chosen.start))
        # Taken over: whoever rebuilds the engine has its own weights.
        settings = settings.model_copy(update={"start": None})
    engine = Mask2FormerSegmenter(classes, settings, network)
    return engine.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
