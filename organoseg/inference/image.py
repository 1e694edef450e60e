"""One image through an engine: whole, or in overlapping windows where it is large."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from organoseg.core import Image, Instances, UsageError, normalised
from organoseg.inference.stitch import stitch
from organoseg.inference.tiles import windows
from organoseg.models.protocol import CappedResultWarning


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
        Windows of one image given to the network at once.
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
    how = look or Look()
    pixels = _zoomed(normalised(image.plane(), image.name or None), zoom)
    parts = windows((pixels.shape[0], pixels.shape[1]), how.tile, how.overlap)
    seen: list[Instances] = []
    for start in range(0, len(parts), how.batch):
        some = np.stack([pixels[part.slices] for part in parts[start : start + how.batch]])
        batch = torch.from_numpy(some)[:, None].to(device)
        seen += module.segment(batch, score_threshold)
    _warn(image.name, seen, module.max_instances)
    found = stitch((pixels.shape[0], pixels.shape[1]), parts, seen)
    return found if found.shape == image.shape else found.scale(image.shape)


def _zoomed(pixels: NDArray[np.float32], zoom: float) -> NDArray[np.float32]:
    if math.isclose(zoom, 1.0, rel_tol=0.02):
        return pixels
    size = [max(round(side * zoom), 1) for side in pixels.shape]
    found: NDArray[np.float32] = F.interpolate(
        torch.from_numpy(pixels)[None, None],
        size=size,
        mode="bilinear",
        align_corners=False,
        antialias=zoom < 1,
    )[0, 0].numpy()
    return found


def _warn(name: str, seen: Sequence[Instances], most: int) -> None:
    full = max(map(len, seen))
    if full >= most:
        where = "" if len(seen) == 1 else " in one window of it"
        warnings.warn(
            f"{name}: {full} organoids{where}, as many as the engine returns; some may be missing. "
            "Raise model.options.max_instances.",
            CappedResultWarning,
            stacklevel=3,
        )
