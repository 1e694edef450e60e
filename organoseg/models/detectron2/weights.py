"""Pre-trained weights into the network: every tensor or an error; heads of other classes are replaced and said so."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from organoseg.core import DataError, UsageError
from organoseg.models.detectron2.options import Detectron2Options
from organoseg.models.detectron2.reading import read_weights
from organoseg.models.detectron2.zoo import resolve

LOG = logging.getLogger("organoseg.models")
#: Layers whose size follows from the number of classes.
CLASSWISE = re.compile(
    r"box_predictor(\.\d+)?\.(cls_score|bbox_pred)\.|mask_head\.(predictor|coarse_head\.prediction|point_head)\b"
)
BACKBONE = re.compile(r"^(?:backbone\.bottom_up\.|backbone\.net\.|backbone\.|roi_heads\.)")
#: Statistics that backbones of frozen normalisation may lack: the layer's own values stand for "none".
OPTIONAL = re.compile(r"norm\.running_(mean|var)$|\.rel_pos_[hw]$")
SURPLUS = re.compile(r"^(fc\d*|linear|head|decoder|mask_token|cls_token|norm|fc_norm)(\.|$|_)")


def load_network(engine: Any, name: str, trust: bool = False, replace: bool = True) -> list[str]:
    """A whole model's weights; returns the names of layers that stay random because they are of other classes.

    Parameters
    ----------
    replace
        Whether layers of another number of classes may be replaced; else they are an error.

    Raises
    ------
    UsageError
        A name that is not known, or weights of another architecture.
    DataError
        A tensor is missing, left over, or of another shape.
    """
    where = "model.options.start"
    path = resolve(name, engine.chosen.architecture, where)
    tensors = read_weights(path, trust)
    return put(engine.network, tensors, path, replace)


def put(
    network: Any, tensors: Mapping[str, Tensor], path: Path | str, replace: bool = True
) -> list[str]:
    """Put a whole model's tensors into a network; see :func:`load_network`."""
    ours: dict[str, Tensor] = network.state_dict()
    skipped = [k for k in ours if k in tensors and _other_classes(k, ours[k], tensors[k])]
    if not replace and skipped:
        _refuse_shapes(skipped, ours, tensors, path)
    wrong = [
        k for k in ours if k in tensors and k not in skipped and ours[k].shape != tensors[k].shape
    ]
    if wrong:
        _refuse_shapes(wrong, ours, tensors, path)
    _compare(ours.keys(), tensors.keys(), path)
    kept = {k: ours[k] if k in skipped else tensors[k] for k in ours}
    network.load_state_dict(kept, strict=True)
    if skipped:
        layers = sorted({k.rpartition(".")[0] for k in skipped})
        LOG.warning(
            "%s was trained for other classes: %s begin at random, everything else is taken.",
            Path(path).name, ", ".join(layers),
        )  # fmt: skip
    return skipped


def _other_classes(key: str, ours: Tensor, theirs: Tensor) -> bool:
    return bool(CLASSWISE.search(key)) and ours.shape != theirs.shape


def _refuse_shapes(
    keys: list[str], ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], path: Path | str
) -> None:
    first = keys[0]
    raise DataError(
        f"{len(keys)} weights have another shape, the first is {first!r}: "
        f"{tuple(theirs[first].shape)}, expected {tuple(ours[first].shape)}",
        where=path,
        remedy="Use the architecture, classes, number of anchors and widths that the weights were made with.",
    )


def _compare(ours: Iterable[str], theirs: Iterable[str], path: Path | str) -> None:
    ours, theirs = set(ours), set(theirs)
    missing, extra = sorted(ours - theirs), sorted(theirs - ours)
    if missing or extra:
        raise DataError(
            f"the weights do not fit the network: {len(missing)} missing {missing[:3]}, "
            f"{len(extra)} unexpected {extra[:3]}",
            where=path,
            remedy="Choose the architecture, and norm: FrozenBN or GN, that they were made with.",
        )


def load_backbone(engine: Any, name: str, trust: bool = False) -> None:
    """Weights of the backbone alone: detectron2's ImageNet files, or those of compact's encoder for MobileNetV2.

    Raises
    ------
    UsageError
        A name that is not known, or weights of another backbone.
    DataError
        A tensor is missing, left over, or of another shape.
    """
    architecture = engine.chosen.architecture
    if engine.grey:
        from organoseg.models.published import resolve as resolve_published
        from organoseg.models.weights import load_encoder, read_tensors

        path = resolve_published(name)
        load_encoder(engine.network.backbone.bottom_up.encoder, read_tensors(path), path)
        return
    if name.startswith("mobilenet"):
        raise UsageError(
            f"{name} are weights of MobileNetV2, and the engine is {architecture}",
            where="recipe, model.encoder_weights",
            remedy="Write encoder_weights: null, or the name of an ImageNet backbone "
            "(docs/detectron2.md), or choose mask_rcnn_mobilenet_v2_FPN.",
        )
    path = resolve(name, architecture + "_", "recipe, model.encoder_weights")
    _put_backbone(engine.network, read_weights(path, trust), path)


def padding_for(chosen: Detectron2Options, name: str) -> str | None:
    """The convention that MobileNetV2's weights were trained with; None for other backbones."""
    if "mobilenet" not in chosen.architecture or chosen.config:
        return None
    from organoseg.models.published import resolve as resolve_published
    from organoseg.models.weights import layout_of, padding_of, read_tensors

    return padding_of(layout_of(read_tensors(resolve_published(name))))


def _put_backbone(network: Any, tensors: Mapping[str, Tensor], path: Path) -> None:
    ours: dict[str, Tensor] = network.state_dict()
    places = {BACKBONE.sub("", k): k for k in ours if _is_backbone(k)}
    given = {
        BACKBONE.sub("", k): v
        for k, v in tensors.items()
        if not SURPLUS.match(k) and (_is_backbone(k) or not BACKBONE.match(k))
    }
    needed = [k for k in places if not OPTIONAL.search(k) or k in given]
    _compare(needed, given, path)
    wrong = [k for k in needed if ours[places[k]].shape != given[k].shape]
    if wrong:
        _refuse_shapes(wrong, {k: ours[places[k]] for k in places}, given, path)
    network.load_state_dict({**ours, **{places[k]: given[k] for k in needed}}, strict=True)


def _is_backbone(key: str) -> bool:
    if key.startswith("backbone."):
        return ".fpn_" not in key and not key.startswith(("backbone.fpn_", "backbone.simfp"))
    return key.startswith("roi_heads.res5.")
