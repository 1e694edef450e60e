"""Tensors out of detectron2's files: ``.pkl`` of its zoo, ``.pth`` of its trainer, ``.safetensors`` of ours."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from organoseg.core import DataError, UsageError, atomic_write
from organoseg.models.pickles import PickledWeights, read_pickled

#: In every detectron2 checkpoint of some age, and in none of its networks' parameters.
CONSTANTS = re.compile(r"(^|\.)(pixel_mean|pixel_std|num_batches_tracked)$|anchor_generator\.")
_TRUST = (
    "If you made this file yourself or trust who did, add --trust-pickle "
    "(model.options.trust_pickle: true); a pickle may run any code."
)
_CAFFE2_PARTS = {
    "branch1": "shortcut",
    "branch2a": "conv1",
    "branch2b": "conv2",
    "branch2c": "conv3",
}
_CAFFE2_NORM = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}


def read_weights(path: Path, trust: bool = False) -> dict[str, Tensor]:
    """Tensors by detectron2's names; nothing in the file is executed unless ``trust`` says that it may be.

    Raises
    ------
    DataError
        The file is damaged, holds something else than tensors, or would have to run code to be read.
    UsageError
        The file is of another kind, or absent.
    """
    if not path.is_file():
        raise UsageError("no such file", where=path, remedy="Give the path of a checkpoint.")
    if path.suffix == ".safetensors":
        tensors = _safetensors(path)
    elif path.suffix == ".pkl":
        tensors = _pickle(path, trust)
    elif path.suffix in (".pth", ".pt"):
        tensors = _torch(path, trust)
    else:
        raise UsageError(
            f"weights of unknown kind {path.suffix!r}",
            where=path,
            remedy="Use detectron2's .pkl or .pth, or .safetensors.",
        )
    kept = {k: v for k, v in tensors.items() if not CONSTANTS.search(k)}
    for key, value in kept.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DataError(f"weight {key!r} is not finite", where=path, remedy="Use another file.")
    return kept


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Whole or not at all."""
    from safetensors.torch import save

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}))


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"the weights cannot be read: {error}", where=path) from error
    # A model folder of ours keeps the network inside the engine.
    return {k.removeprefix("network."): v for k, v in tensors.items()}


def _pickle(path: Path, trust: bool) -> dict[str, Tensor]:
    try:
        found = read_pickled(path)
    except DataError as error:
        if not trust:
            raise DataError(error.what, where=path, remedy=_TRUST) from error
        found = PickledWeights(*_trusted(path))
    tensors = {k: _tensor(k, v, path) for k, v in found.arrays.items()}
    foreign = found.facts.get("__author__") in (None, "Caffe2")
    return _from_caffe2(tensors) if foreign and any("_branch" in k for k in tensors) else tensors


def _tensor(key: str, values: np.ndarray[Any, Any], path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.ascontiguousarray(values))
    except TypeError as error:  # a trusted pickle may hold anything
        raise DataError(f"the weights: {key!r} is no array of numbers", where=path) from error


def _trusted(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same with Python's own pickle, which may run what it likes: the user said so."""
    try:
        with path.open("rb") as file:
            tree = pickle.load(file, encoding="latin1")  # noqa: S301 - --trust-pickle
    except Exception as error:
        raise DataError(f"the weights are damaged: {error}", where=path) from error
    inner = tree.get("model", tree.get("blobs", tree)) if isinstance(tree, Mapping) else None
    if not isinstance(inner, Mapping):
        raise DataError("the file holds no weights", where=path)
    facts = {k: v for k, v in tree.items() if isinstance(v, (str, bool, int, float))}
    return {k: np.asarray(v) for k, v in inner.items() if k not in facts}, facts


def _torch(path: Path, trust: bool) -> dict[str, Tensor]:
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust:
            what = f"the checkpoint is refused: {_first_line(error)}"
            raise DataError(what, where=path, remedy=_TRUST) from error
        tree = _torch_trusted(path)
    except Exception as error:
        raise DataError(f"the checkpoint is damaged: {_first_line(error)}", where=path) from error
    inner = tree.get("model", tree) if isinstance(tree, Mapping) else tree
    if not isinstance(inner, Mapping) or not inner:
        raise DataError(
            "the checkpoint holds no weights", where=path, remedy="Give what detectron2 saved."
        )
    strange = [k for k, v in inner.items() if not isinstance(v, Tensor)]
    if strange:
        raise DataError(f"the checkpoint: {strange[0]!r} is no tensor", where=path)
    # What was trained on several cards is called so.
    return {str(k).removeprefix("module."): v for k, v in inner.items()}


def _torch_trusted(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise DataError(f"the checkpoint is damaged: {_first_line(error)}", where=path) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def _from_caffe2(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of the original ResNets to detectron2's; the classifier on top is left out."""
    renamed = {}
    for key, value in tensors.items():
        name = _caffe2_name(key)
        if name is not None:
            renamed[name] = value
    return renamed


def _caffe2_name(key: str) -> str | None:
    stem = re.fullmatch(r"(?:res_)?conv1_(?:(?:bn|gn)_(s|b|rm|riv)|(w))", key)
    if stem:
        return f"stem.conv1.norm.{_CAFFE2_NORM[stem[1]]}" if stem[1] else "stem.conv1.weight"
    block = re.fullmatch(
        r"res(\d)_(\d+)_(branch(?:1|2a|2b|2c))_(?:(?:bn|gn)_(s|b|rm|riv)|(w))", key
    )
    if block:
        place = f"res{block[1]}.{block[2]}.{_CAFFE2_PARTS[block[3]]}"
        return f"{place}.norm.{_CAFFE2_NORM[block[4]]}" if block[4] else f"{place}.weight"
    return None
