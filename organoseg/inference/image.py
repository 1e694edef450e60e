"""One image through an engine: whole, or in overlapping windows where it is large."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Image, Instances, UsageError, normalised
from organoseg.models.protocol import CappedResultWarning, capacity_of, capacity_option
from organoseg.models.stitch import stitch
from organoseg.models.tiles import STRIDE, Window, windows

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Look:
    """How an image is given to the network.

    Attributes
    ----------
    tile
        An image with a side above this (px) is looked at in windows of this side; memory follows it.
    overlap
        Of two neighbouring windows, px. An organoid that is larger is put together from pieces.
    batch
        Windows given to the network at once. More than one pays on a GPU; then the last digits of scores may follow
        what was looked at together.
    """

    tile: int = 1536
    overlap: int = 256
    batch: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1 or not 0 <= self.overlap < self.tile:
            raise UsageError(
                f"Tiles of {self.tile} px with {self.overlap} px overlap in batches of {self.batch} cannot be made",
                remedy="Give a tile larger than the overlap, and a batch of 1 or more.",
            )


def segment_image(
    module: Any,
    image: Image,
    score_threshold: float,
    device: torch.device,
    look: Look | None = None,
    zoom: float = 1.0,
) -> Instances:
    """Instances of one single-plane image, best score first.

    ``zoom``: the image is enlarged by this before the network sees it; masks come back at the image's own size.

    Raises
    ------
    DataError
        Several planes, or pixels that are not finite.
    """
    return segment_images(module, [image], score_threshold, device, look, [zoom])[0]


def segment_images(
    module: Any,
    images: Sequence[Image],
    score_threshold: float,
    device: torch.device,
    look: Look | None = None,
    zooms: Sequence[float] | None = None,
) -> list[Instances]:
    """Instances of several single-plane images, each as `segment_image` gives them, ``look.batch`` windows at once.

    Windows of one size go to the network together, also those of different images. All images are held as float32
    meanwhile.
    """
    how = look or Look()
    planes = [
        _zoomed(normalised(image.plane(), image.name or None), zoom)
        for image, zoom in zip(images, zooms or [1.0] * len(images), strict=True)
    ]
    shapes = [(p.shape[0], p.shape[1]) for p in planes]
    grid = getattr(module, "stride", STRIDE)
    parts = [windows(shape, how.tile, how.overlap, grid) for shape in shapes]
    seen = _seen(module, planes, parts, score_threshold, device, how.batch)
    found = []
    for image, shape, tiles, each in zip(images, shapes, parts, seen, strict=True):
        _warn(image.name, each, module)
        whole = stitch(shape, tiles, each)
        found.append(whole if whole.shape == image.shape else whole.scale(image.shape))
    return found


def _seen(
    module: Any,
    planes: Sequence[NDArray[np.float32]],
    parts: Sequence[Sequence[Window]],
    threshold: float,
    device: torch.device,
    batch: int,
) -> list[list[Instances]]:
    """What the network finds in each window of each plane."""
    alike: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for plane, tiles in enumerate(parts):
        for number, tile in enumerate(tiles):
            alike.setdefault((tile.height, tile.width), []).append((plane, number))
    found: dict[tuple[int, int], Instances] = {}
    for places in alike.values():
        for start in range(0, len(places), batch):
            some = places[start : start + batch]
            pixels = np.stack([planes[p][parts[p][n].slices] for p, n in some])[:, None]
            taken = pixels if getattr(module, "takes_arrays", False) else _tensor(pixels, device)
            found.update(zip(some, module.segment(taken, threshold), strict=True))
    return [[found[p, n] for n in range(len(tiles))] for p, tiles in enumerate(parts)]


def _tensor(pixels: NDArray[np.float32], device: torch.device) -> torch.Tensor:
    import torch  # here, because an exported model predicts without it

    return torch.from_numpy(pixels).to(device)


def _zoomed(pixels: NDArray[np.float32], zoom: float) -> NDArray[np.float32]:
    if math.isclose(zoom, 1.0, rel_tol=0.02):
        return pixels
    import torch
    from torch.nn import functional as F

    size = [max(round(side * zoom), 1) for side in pixels.shape]
    found: NDArray[np.float32] = F.interpolate(
        torch.from_numpy(pixels)[None, None],
        size=size,
        mode="bilinear",
        align_corners=False,
        antialias=zoom < 1,
    )[0, 0].numpy()
    return found


def _warn(name: str, seen: Sequence[Instances], module: Any) -> None:
    full, shape = max((len(found), found.shape) for found in seen)
    if full >= capacity_of(module, shape):
        where = "" if len(seen) == 1 else " in one window of it"
        text = (
            f"{name}: {full} organoids{where}, as many as the engine returns; some may be missing. "
            f"Raise model.options.{capacity_option(module)}."
        )
        warnings.warn(CappedResultWarning(text, name), stacklevel=4)
