"""What a run shows of itself while it trains: AP on held-out images with its interval, and a few of them drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from organoseg.core import Instances
from organoseg.dataset import LabelledDataset
from organoseg.evaluation.average_precision import precision_by_threshold, rank
from organoseg.evaluation.bootstrap import Interval, interval, resamplings
from organoseg.evaluation.counts import best_threshold
from organoseg.evaluation.matching import match_all
from organoseg.report.gallery import Found, GalleryRow, write_gallery
from organoseg.training.validation import predict_dataset

SAMPLES = "samples"
#: Draws of the interval, and images that are drawn. Both are looked at often and decide nothing.
DRAWS, SHOWN = 200, 3


@dataclass(frozen=True, eq=False)
class Look:
    """A look at held-out images.

    Attributes
    ----------
    ap
        COCO's mask AP.
    interval
        95 % of it over other draws of images.
    rows
        Some of the images with their labels and what was found.
    """

    ap: float
    interval: Interval
    rows: tuple[GalleryRow, ...]

    def facts(self) -> dict[str, float]:
        """For the journal; a figure without a value (no organoid is labelled) is left out."""
        named = {"AP": self.ap, "AP_low": self.interval.low, "AP_high": self.interval.high}
        return {name: value for name, value in named.items() if np.isfinite(value)}


def look(
    module: nn.Module,
    dataset: LabelledDataset,
    device: torch.device,
    crew: Any = None,
    progress: Callable[[int, int], None] = lambda done, images: None,
) -> Look:
    """Segment a labelled set and judge it; the module keeps its mode. A ``crew`` shares the images."""
    predicted, truth = predict_dataset(module, dataset, device, crew=crew, progress=progress)
    tables = match_all(predicted, truth)
    ranked = rank(tables)
    draws = resamplings(len(truth), DRAWS, 0)
    samples = np.array([precision_by_threshold(ranked, draw).mean() for draw in draws])
    ap = float(precision_by_threshold(ranked).mean())
    return Look(ap, interval(samples), _rows(dataset, predicted, best_threshold(tables)))


def _rows(
    dataset: LabelledDataset, predicted: dict[str, Instances], score: float
) -> tuple[GalleryRow, ...]:
    """The same images at every look, spread from the emptiest to the most crowded."""
    items = sorted(dataset, key=lambda item: (len(item.instances), item.name))
    places = np.linspace(0, len(items) - 1, min(SHOWN, len(items))).round().astype(int)
    return tuple(
        GalleryRow(
            item.name,
            item.image.plane(),
            item.instances,
            {"found now": Found(predicted[item.image.name], score)},
        )
        for item in (items[place] for place in places)
    )


def write_samples(out: Path, step: int, seen: Look) -> Path:
    """``samples/step-000200.png`` of a run folder, which appears when it is whole."""
    path = out / SAMPLES / f"step-{step:06d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gallery(path, seen.rows)
    return path
