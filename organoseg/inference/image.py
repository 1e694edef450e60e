"""One image through an engine."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from organoseg.core import Image, Instances, normalised


class CappedResultWarning(UserWarning):
    """An image holds at least as many organoids as the engine can return; some may be lost."""


def segment_image(
    module: Any, image: Image, score_threshold: float, device: torch.device
) -> Instances:
    """Instances of one single-plane image, best score first.

    Raises
    ------
    DataError
        Several planes, or pixels that are not finite.
    """
    pixels = torch.from_numpy(normalised(image.plane(), image.name or None))[None, None].to(device)
    found: Instances = module.segment(pixels, score_threshold)[0]
    if len(found) >= module.max_instances:
        warnings.warn(
            f"{image.name}: {len(found)} organoids, as many as the engine returns; some may be missing. "
            "Raise model.options.max_instances.",
            CappedResultWarning,
            stacklevel=2,
        )
    return found
