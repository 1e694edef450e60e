"""The figure a run is steered by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from organoseg.core import Image, Instances
from organoseg.dataset import LabelledDataset
from organoseg.distill.crew import Alone
from organoseg.evaluation import average_precision
from organoseg.inference.image import Look, segment_images
from organoseg.io.instances_json import ORGANOID
from organoseg.models.agnostic import of_one_class
from organoseg.models.capped import told_once
from organoseg.models.ensemble import Thorough
from organoseg.models.halves import in_halves

#: Low enough for the tail of the precision-recall curve.
FLOOR = 0.05


#: Images that a GPU is given at once; a processor takes them one by one.
IMAGES_AT_ONCE = 16


def predict_dataset(
    module: nn.Module,
    dataset: LabelledDataset,
    device: torch.device,
    thorough: bool = False,
    crew: Any = None,
    progress: Callable[[int, int], None] = lambda done, images: None,
) -> tuple[dict[str, Instances], dict[str, Instances]]:
    """Predictions and ground truth by image name, where somebody looked; the module keeps its mode.

    A module of one class is held to the organoids of all classes: it was not told which is which.
    The processes of a ``crew`` share the images; all of them must ask, and all get all. ``progress`` hears how many
    of a process' own images are done.
    """
    looks: Any = Thorough(module) if thorough else module  # type: ignore[arg-type]
    was_training = module.training
    module.eval()
    items = list(dataset)
    team: Any = crew or Alone()
    mine = items[len(items) * team.rank // team.size : len(items) * (team.rank + 1) // team.size]
    together = IMAGES_AT_ONCE if device.type == "cuda" else 1
    look, found = Look(batch=together), []
    for start in range(0, len(mine), together):
        some = mine[start : start + together]
        images = [item.image for item in some]
        found += told_once(module, partial(_seen, looks, images, device, look))
        progress(len(found), len(mine))
    module.train(was_training)
    known = getattr(module, "classes", ())
    blind = tuple(known) == tuple(ORGANOID) != tuple(dataset.classes)
    predicted, truth = {}, {}
    for item, seen in zip(items, team.gather(found), strict=True):
        predicted[item.image.name] = item.judged(seen)
        truth[item.image.name] = of_one_class(item.instances) if blind else item.instances
    return predicted, truth


def _seen(looks: Any, images: list[Image], device: torch.device, look: Look) -> list[Instances]:
    return in_halves(
        lambda some: segment_images(looks, images[some], FLOOR, device, look), len(images)
    )


def average_precision_of(
    module: nn.Module, dataset: LabelledDataset, device: torch.device, crew: Any = None
) -> float:
    """COCO mask AP of an engine on a labelled set."""
    return average_precision(*predict_dataset(module, dataset, device, crew=crew))
