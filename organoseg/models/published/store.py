"""From a name or a path to a file of weights: a local folder first, then the cache, then the network."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from organoseg.core import DataError, UsageError
from organoseg.io.cache import cache_folder, offline
from organoseg.io.checksum import verify
from organoseg.io.download import Words, fetch
from organoseg.models.published.catalogue import CATALOGUE, PublishedWeights

#: What a folder of weights is looked through for, in this order.
USUAL_NAMES = ("model.safetensors", "weights.safetensors", "pytorch_model.bin")
WEIGHT_SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin", ".pkl")


def weights_cache() -> Path:
    """The part of the cache that holds weights."""
    return cache_folder() / "weights"


def local_folder() -> Path | None:
    """The user's own folder of weights, ``$ORGANOSEG_WEIGHTS``."""
    base = os.environ.get("ORGANOSEG_WEIGHTS")
    return Path(base).expanduser() if base else None


def resolve(name_or_path: str | Path) -> Path:
    """A file of weights: a file or folder as it is, a published name from disk or downloaded once.

    Raises
    ------
    UsageError
        It is neither a file, a folder with weights, nor a published name.
    DataError
        The file is not there and cannot be downloaded, or is not the published one.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    name = str(name_or_path)
    # A published name is no folder: a run may well be called after its weights.
    if path.is_dir() and name not in CATALOGUE:
        return _of_folder(path)
    if name not in CATALOGUE:
        raise _unknown(name)
    weights = CATALOGUE[name]
    found = find(weights)
    if found is not None:
        verify(found, weights.checksum)
        return found
    target = weights_cache() / weights.file_name
    if weights.gated and not offline():
        raise DataError(
            f"the weights {name!r} are given only to those who accept their licence ({weights.licence})",
            where=weights.page,
            remedy=f"Accept it there. {_by_hand(weights, target)}",
        )
    words = Words(f"the weights {name!r} are not on this computer", _by_hand(weights, target))
    return fetch(weights.url, target, weights.checksum, words=words)


def find(weights: PublishedWeights) -> Path | None:
    """The file of published weights on this computer, unchecked; None where it is not."""
    own = local_folder()
    places = [weights_cache() / weights.file_name]
    if own is not None:
        places.insert(0, own / weights.file_name)
        if weights.on_hub:  # a clone of the repository, or what `hf download --local-dir` leaves
            repository, _, file = weights.hub_parts()
            places[1:1] = [own / repository / file, own / repository.rpartition("/")[2] / file]
    return next((place for place in places if place.is_file()), None)


def _by_hand(weights: PublishedWeights, target: Path) -> str:
    own = local_folder()
    or_folder = (
        f", or into {own}" if own else ", or into a folder of yours: ORGANOSEG_WEIGHTS=/folder"
    )
    return (
        f"Download {weights.url} and put it there as {target.name}: into {target.parent}{or_folder}"
    )


def _of_folder(folder: Path) -> Path:
    for name in USUAL_NAMES:
        if (folder / name).is_file():
            return folder / name
    files = [p for p in sorted(folder.iterdir()) if p.suffix in WEIGHT_SUFFIXES and p.is_file()]
    if len(files) == 1:
        return files[0]
    found = ", ".join(p.name for p in files[:5]) or "none"
    raise UsageError(
        f"which weights of this folder? ({found})",
        where=folder,
        remedy=f"Give the path of one file ({', '.join(WEIGHT_SUFFIXES)}).",
    )


def _unknown(name: str) -> UsageError:
    near = difflib.get_close_matches(name, CATALOGUE, n=4, cutoff=0.4) or ["mobilenet_v2_imagenet"]
    if "mobilenet_v2_imagenet" not in near:
        near.append("mobilenet_v2_imagenet")
    return UsageError(
        f"no encoder weights named {name!r}",
        where="recipe, model.encoder_weights or model.options.start",
        remedy="Give the path of a file, null for a random encoder, or a published name such as "
        f"{', '.join(near)}; docs/mask2former.md has them all.",
    )
