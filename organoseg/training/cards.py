"""The cards of a run's models, written when everything about them is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from organoseg.core import Instances, write_bytes, write_text
from organoseg.dataset import LabelledDataset, LabelledImage
from organoseg.models.card import model_card
from organoseg.models.folder import CARD, read_description
from organoseg.report.gallery import png
from organoseg.report.overlay import overlay

THUMBNAIL = "thumbnail.png"
#: Longest side of the picture, px.
SIDE = 320


def write_model_card(
    folder: Path,
    figures: Mapping[str, Any] | None,
    held_out: LabelledDataset | None,
    predicted: Mapping[str, Instances],
) -> None:
    """Write the card of a saved model anew, with its figures and a picture of what it finds.

    Parameters
    ----------
    figures
        Its evaluation on the held-out images, None where there are none.
    held_out, predicted
        Those images, and what the model found in them by name. Without them the card has no picture: one of a
        training image would flatter.
    """
    description = read_description(folder)
    picture = None
    if held_out is not None:
        write_bytes(
            folder / THUMBNAIL,
            thumbnail(_typical(held_out), predicted, description.score_threshold),
        )
        picture = THUMBNAIL
    write_text(folder / CARD, model_card(description, figures, picture))


def thumbnail(item: LabelledImage, predicted: Mapping[str, Instances], score: float) -> bytes:
    """PNG of an image, at most `SIDE` px, with the organoids found in it from `score` on."""
    pixels = item.image.plane()
    found = predicted[item.image.name]
    found = found.select(found.scores >= score)
    step = -(-max(pixels.shape) // SIDE)
    if step > 1:
        pixels = pixels[::step, ::step]
        found = found.scale((pixels.shape[0], pixels.shape[1]))
    return png(overlay(pixels, found))


def _typical(dataset: LabelledDataset) -> LabelledImage:
    """The image with the middle number of organoids."""
    counts = [len(item.instances) for item in dataset]
    return dataset[int(np.argsort(counts, kind="stable")[len(counts) // 2])]
