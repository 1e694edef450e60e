"""Files of weights, and the compact encoder's: read without running anything, mapped strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from organoseg.core import DataError, UsageError
from organoseg.models.pickles import read_arrays

Layout = Literal["folded", "torchvision"]
BATCH_NORM_EPSILON = 1e-5
SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin", ".pkl")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a ``.safetensors``, ``.npz``, ``.pth``, ``.pt``, ``.bin`` or ``.pkl`` file.

    Nothing in it is executed: torch's own files are read by its loader of plain tensors, pickled arrays
    (detectron2's ``.pkl``) by :mod:`organoseg.models.pickles`.

    Raises
    ------
    DataError
        The file is damaged, or holds something else than tensors.
    UsageError
        The file is of another kind.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"encoder weights of unknown kind {path.suffix!r}",
            where=path,
            remedy=f"Use one of {', '.join(SUFFIXES)}.",
        )
    try:
        tensors = _read(path)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"encoder weights cannot be read: {error}",
            where=path,
            remedy="Download or export them again.",
        ) from error
    strange = [k for k, v in tensors.items() if not isinstance(v, Tensor)]
    if strange:
        raise DataError(
            f"encoder weights: {strange[0]!r} is no tensor",
            where=path,
            remedy="Save the network's state_dict by itself.",
        )
    return tensors


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {k: torch.from_numpy(arrays[k]) for k in arrays.files}
    if path.suffix == ".pkl":
        return {k: torch.from_numpy(v) for k, v in read_arrays(path).items()}
    tree = torch.load(path, map_location="cpu", weights_only=True)
    # As detectron2 and the authors of Swin publish theirs: the network's state and nothing else of use.
    model = tree.get("model")
    return dict(model if isinstance(model, Mapping) else tree)


def _fold(weight: Tensor, norm: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    scale = norm["weight"] / torch.sqrt(norm["running_var"] + BATCH_NORM_EPSILON)
    return weight * scale[:, None, None, None], norm["bias"] - norm["running_mean"] * scale


def _torchvision_names() -> list[tuple[str, str, str]]:
    """(our prefix, torchvision's convolution, torchvision's normalisation) of every layer."""
    rows = [("stem", "features.0.0", "features.0.1")]
    for k in range(17):
        base = f"features.{k + 1}.conv"
        if k == 0:
            places = [(f"{base}.0.0", f"{base}.0.1"), (f"{base}.1", f"{base}.2")]
        else:
            places = [
                (f"{base}.0.0", f"{base}.0.1"),
                (f"{base}.1.0", f"{base}.1.1"),
                (f"{base}.2", f"{base}.3"),
            ]
        rows += [(f"blocks.{k}.{j}", conv, norm) for j, (conv, norm) in enumerate(places)]
    return rows


def _from_torchvision(tensors: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    folded: dict[str, Tensor] = {}
    for ours, conv, norm in _torchvision_names():
        try:
            parts = {
                p: tensors[f"{norm}.{p}"] for p in ("weight", "bias", "running_mean", "running_var")
            }
            folded[f"{ours}.weight"], folded[f"{ours}.bias"] = _fold(
                tensors[f"{conv}.weight"], parts
            )
        except KeyError as error:
            raise DataError(
                f"encoder weights lack {error.args[0]!r}",
                where=where,
                remedy="Use MobileNetV2-1.0 weights.",
            ) from error
    return folded


def layout_of(tensors: Mapping[str, Tensor]) -> Layout:
    """Which of the known layouts a file of MobileNetV2 weights has."""
    return "torchvision" if any(k.startswith("features.") for k in tensors) else "folded"


def padding_of(layout: Layout) -> Literal["tensorflow", "symmetric"]:
    """The padding that weights of a layout were trained with."""
    return "symmetric" if layout == "torchvision" else "tensorflow"


def load_encoder(encoder: torch.nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Load MobileNetV2 weights, every tensor or none.

    Three-channel stems are summed over RGB: a grey image fed to all three channels gives the same output.

    Raises
    ------
    DataError
        A tensor is missing, left over, of another shape, or not finite.
    """
    layout = layout_of(tensors)
    if layout == "torchvision":
        tensors = _from_torchvision(tensors, where)
    ours = encoder.state_dict()
    renamed = {
        re.sub(r"^blocks\.(\d+)\.(\d+)\.", r"blocks.\1.layers.\2.", k): v.float()
        for k, v in tensors.items()
        if not k.startswith("head.")
    }
    stem = renamed.get("stem.weight")
    if stem is not None and stem.shape[1:2] == (3,):
        renamed["stem.weight"] = stem.sum(1, keepdim=True)
    missing, extra = sorted(ours.keys() - renamed.keys()), sorted(renamed.keys() - ours.keys())
    if missing or extra:
        raise DataError(
            f"encoder weights do not fit: missing {missing[:3]}, unexpected {extra[:3]}",
            where=where,
            remedy="Use MobileNetV2-1.0 weights (torchvision's, or folded ones).",
        )
    for key, value in renamed.items():
        if value.shape != ours[key].shape or not bool(torch.isfinite(value).all()):
            raise DataError(
                f"encoder weight {key!r} is {tuple(value.shape)}, expected {tuple(ours[key].shape)}, all finite",
                where=where,
                remedy="Use MobileNetV2-1.0 weights.",
            )
    encoder.load_state_dict(renamed, strict=True)
