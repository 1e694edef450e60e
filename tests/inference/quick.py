"""A run of the pipeline with a network that costs nothing, and a process that may be killed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.ndimage import label

from organoseg.core import Image, Instances
from organoseg.inference import pipeline
from organoseg.inference.items import Failure, make_plan
from organoseg.inference.pipeline import Work
from organoseg.inference.settings import PredictSettings


class QuickModel:
    """Bright spots are organoids; ``seen`` has the names of the pictures it was asked about."""

    description = SimpleNamespace(classes={1: "organoid"}, identity="quick", pixel_size=None)
    score_threshold = 0.5

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.together: list[int] = []

    def look(self, image: Image, *_: Any) -> tuple[Instances, tuple[str, ...]]:
        """Connected pixels above the middle of the grey values."""
        self.seen.append(image.name)
        pixels = image.plane()
        labels, _ = label(pixels > (int(pixels.min()) + int(pixels.max())) / 2)
        return Instances.from_labels(labels.astype(np.int32)), ()

    def look_at_all(self, images: Sequence[Image], *_: Any) -> list[Any]:
        """All of them; ``together`` has how many."""
        self.together.append(len(images))
        return [self.look(image) for image in images]


def quick_model(work: Work) -> Any:
    """In the place of `pipeline.model_of`."""
    return MODEL


MODEL = QuickModel()


def segment(
    sources: Sequence[str | Path], out: Path, write: Sequence[str] = ("labels",), **how: Any
) -> list[Failure]:
    """Plan and segment, without the joint files."""
    settings = PredictSettings(**how)
    plan = make_plan(sources, settings, out)
    work = Work(Path("quick"), out, settings, tuple(write))
    return [*plan.failures, *pipeline.segment_items(plan.items, work)]


if __name__ == "__main__":
    pipeline.model_of = quick_model  # type: ignore[assignment]

    def tell(event: str, facts: Any) -> None:
        print(facts["done"], flush=True)

    settings = PredictSettings()
    plan = make_plan([sys.argv[1]], settings, Path(sys.argv[2]))
    pipeline.segment_items(
        plan.items, Work(Path("quick"), Path(sys.argv[2]), settings, ("labels",)), tell
    )
