"""Published weights into our networks, every tensor or none."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from organoseg.core import DataError
from organoseg.models.published.names import (
    Family,
    backbone_part,
    common_whole,
    family_of,
    is_whole,
    split_attention,
)
from organoseg.models.weights import read_tensors

SHOWN = 3
CLASSES = "class_predictor."
#: Swin's last norm, of its classifier; the feature maps have norms of their own.
UNUSED = "backbone.layernorm."
QUERIES = ("queries.queries_features.weight", "queries.queries_embedder.weight")


class ReplacedHeadWarning(UserWarning):
    """Published weights had another number of classes: the class predictor begins anew."""


def load_backbone(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load a backbone's weights, whoever published them, every tensor or none.

    Parameters
    ----------
    module
        A backbone of `transformers` (ResNet, Swin, ConvNeXt, DINOv2, DINOv3).
    tensors
        As :func:`organoseg.models.weights.read_tensors` gives them: names of the hub (of any version), of
        torchvision, timm, detectron2 or the authors. A whole Mask2Former gives its backbone.
    path
        Where they come from, for messages.

    Raises
    ------
    DataError
        They are of another architecture: a tensor is missing, left over, of another shape, or not finite.
    """
    family = _family(module.state_dict(), path)
    if is_whole(tensors):
        tensors = backbone_part(tensors)
    _same_family(family, tensors, path)
    _load(module, split_attention(tensors), family.common, family.may_lack, path)


def load_start(module: nn.Module, path: Path) -> None:
    """Load a whole Mask2Former of the hub or of the original release, every tensor but perhaps the last layer's.

    Parameters
    ----------
    module
        The network: a backbone of `transformers`, the library's pixel decoder and query decoder.
    path
        A file that :func:`organoseg.models.weights.read_tensors` reads.

    Raises
    ------
    DataError
        It is no Mask2Former, or one of another backbone or size.

    Warns
    -----
    ReplacedHeadWarning
        The weights are of another number of classes, so that the class predictor stays as it is.
    """
    tensors = read_tensors(path)
    if not is_whole(tensors):
        raise DataError(
            "the weights are no whole Mask2Former",
            where=path,
            remedy="For a backbone alone use model.encoder_weights instead of model.options.start.",
        )
    state = module.state_dict()
    family = _family(backbone_part(state), path)
    _same_family(family, backbone_part(tensors), path)
    tensors = split_attention(tensors)

    def common(name: str) -> str | None:
        return common_whole(name, family)

    _same_queries(state, tensors, common, path)
    theirs, ours = _classes(tensors, common), _classes(state, common)
    if theirs != ours:
        kept = {n: t for n, t in state.items() if (common(n) or "").startswith(CLASSES)}
        tensors = {n: t for n, t in tensors.items() if not (common(n) or "").startswith(CLASSES)}
        tensors |= kept
        warnings.warn(
            ReplacedHeadWarning(
                f"{path.name} knows {theirs} classes, this model {ours}: its class predictor begins anew, "
                "everything else is taken over"
            ),
            stacklevel=2,
        )

    def may_lack(name: str) -> bool:
        # A whole network has the norms of its outputs; only counters may be absent.
        return name.endswith("num_batches_tracked") or (
            family.name.startswith("Swin") and name.startswith(UNUSED)
        )

    _load(module, tensors, common, may_lack, path)


def adopt_names(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Rename, in place, what another version of `transformers` called the parameters of this network.

    A hook for :meth:`torch.nn.Module.register_load_state_dict_pre_hook`: models and checkpoints stay readable when
    the library renames its parts. Nothing is guessed: what has no place keeps its name, and strict loading says so.
    """
    ours = module.state_dict()
    theirs = [name.removeprefix(prefix) for name in state if name.startswith(prefix)]
    family = family_of(backbone_part(ours))
    if family is None or set(theirs) == set(ours):
        return
    places = {common_whole(name, family): name for name in ours}
    for name in theirs:
        place = places.get(common_whole(name, family))
        if place is not None and place not in theirs:
            state[prefix + place] = state.pop(prefix + name)
    # A norm that no output depends on is there in some versions and not in others.
    swin = family.name.startswith("Swin")
    unused = [n for n in {*ours, *theirs} if (common_whole(n, family) or "").startswith(UNUSED)]
    for name in unused if swin else ():
        if name not in ours:
            state.pop(prefix + name, None)
        else:
            state.setdefault(prefix + name, ours[name])


def _family(names: Mapping[str, object], path: Path) -> Family:
    family = family_of(names)
    if family is None:
        raise DataError(
            "published weights for this backbone are not known here",
            where=path,
            remedy="Set model.encoder_weights to null for a random backbone.",
        )
    return family


def _same_family(family: Family, tensors: Mapping[str, Tensor], path: Path) -> None:
    theirs = family_of(tensors)
    if theirs is not family:
        kind = f"of a {theirs.name}" if theirs else f"of no kind known here ({_some(tensors)})"
        raise DataError(
            f"the weights are {kind}, the backbone is a {family.name}",
            where=path,
            remedy="Set model.options.backbone to what the weights are of, or give other weights.",
        )


def _classes(tensors: Mapping[str, Tensor], common: Callable[[str], str | None]) -> int | None:
    rows = [len(t) for n, t in tensors.items() if common(n) == f"{CLASSES}bias"]
    return rows[0] - 1 if rows else None


def _same_queries(
    state: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    common: Callable[[str], str | None],
    path: Path,
) -> None:
    ours, theirs = (
        [len(t) for n, t in s.items() if common(n) in QUERIES] for s in (state, tensors)
    )
    if ours and theirs and ours[0] != theirs[0]:
        raise DataError(
            f"the weights have {theirs[0]} queries, the model {ours[0]}",
            where=path,
            remedy=f"Set model.options.queries to {theirs[0]}, or start from a backbone alone.",
        )


def _load(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    common: Callable[[str], str | None],
    may_lack: Callable[[str], bool],
    path: Path,
) -> None:
    state = module.state_dict()
    ours, theirs = _by_common(state, common, path), _by_common(tensors, common, path)
    missing = [ours[c] for c in ours if c not in theirs and not may_lack(c)]
    extra = [theirs[c] for c in theirs if c not in ours and not may_lack(c)]
    if missing or extra:
        raise DataError(
            f"the weights do not fit the network: missing {_some(missing)}, unexpected {_some(extra)}",
            where=path,
            remedy="Set model.options to the architecture that the weights are of, or give other weights.",
        )
    fitting = {}
    for name in (c for c in ours if c in theirs):
        tensor, place = tensors[theirs[name]], state[ours[name]]
        if tensor.shape != place.shape and _squeezed(tensor) == _squeezed(place):
            tensor = tensor.reshape(place.shape)
        if tensor.shape != place.shape or not bool(torch.isfinite(tensor).all()):
            raise DataError(
                f"the weight {theirs[name]!r} is {tuple(tensor.shape)}, expected {tuple(place.shape)}, all finite",
                where=path,
                remedy="Set model.options to the architecture that the weights are of, or give other weights.",
            )
        fitting[ours[name]] = tensor
    module.load_state_dict({**state, **fitting}, strict=True)


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    """A shape without its sides of 1: torchvision keeps a scale per channel as (C, 1, 1)."""
    return tuple(n for n in tensor.shape if n != 1)


def _by_common(
    names: Iterable[str], common: Callable[[str], str | None], path: Path
) -> dict[str, str]:
    """Common name -> name; two that mean the same are a fault."""
    found: dict[str, str] = {}
    for name in names:
        meaning = common(name)
        if meaning is None:
            continue
        if meaning in found:
            raise DataError(
                f"the weights {found[meaning]!r} and {name!r} mean the same parameter",
                where=path,
                remedy="Download or export them again.",
            )
        found[meaning] = name
    return found


def _some(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(names[:SHOWN]) or "nothing"
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
