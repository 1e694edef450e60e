"""Pre-trained encoder weights: from a file or by name, strictly, never silently random."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from organoseg.core import DataError, UsageError
from organoseg.models.download import fetch

Layout = Literal["folded", "torchvision"]
BATCH_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Published:
    """Weights that somebody else publishes; ``sha256`` may be the prefix that its publisher states."""

    url: str
    sha256: str
    layout: Layout
    licence: str


#: torchvision publishes the first eight digits of the checksum in the file's name.
PUBLISHED: dict[str, Published] = {
    "mobilenet_v2_imagenet": Published(
        "https://download.pytorch.org/models/mobilenet_v2-7ebf99e0.pth",
        "7ebf99e0",
        "torchvision",
        "BSD-3-Clause",
    ),
    "mobilenet_v2_imagenet_v1": Published(
        "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
        "b0353104",
        "torchvision",
        "BSD-3-Clause",
    ),
}


def cache_folder() -> Path:
    """Where downloads are kept: ``$ORGANOSEG_CACHE``, else the user's cache folder."""
    base = os.environ.get("ORGANOSEG_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "organoseg"


def resolve_weights(name: str) -> Path:
    """A file as it is, a published name downloaded once.

    Raises
    ------
    UsageError
        ``name`` is neither a file nor a published name.
    DataError
        The download failed or its checksum is wrong.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if name in PUBLISHED:
        published = PUBLISHED[name]
        target = cache_folder() / "weights" / Path(published.url).name
        return fetch(published.url, target, published.sha256)
    raise UsageError(
        f"no encoder weights named {name!r}",
        where="recipe, model.encoder_weights",
        remedy=f"Give the path of a file, one of {', '.join(PUBLISHED)}, or null for a random encoder.",
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a ``.safetensors``, ``.npz`` or ``.pth`` file; nothing in it is executed.

    Raises
    ------
    DataError
        The file is damaged, or holds something else than tensors.
    UsageError
        The file is of another kind.
    """
    if path.suffix not in (".safetensors", ".npz", ".pth", ".pt"):
        raise UsageError(
            f"encoder weights of unknown kind {path.suffix!r}",
            where=path,
            remedy="Use .safetensors, .npz or .pth.",
        )
    try:
        tensors = _read(path)
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
    return dict(torch.load(path, map_location="cpu", weights_only=True))


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
