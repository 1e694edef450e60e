"""The figure a run is steered by."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from organoseg.core import Instances, Mask
from organoseg.dataset import LabelledDataset
from organoseg.evaluation import average_precision
from organoseg.inference.image import segment_image
from organoseg.models.ensemble import Thorough

#: Low enough for the tail of the precision-recall curve.
FLOOR = 0.05


def predict_dataset(
    module: nn.Module, dataset: LabelledDataset, device: torch.device, thorough: bool = False
) -> tuple[dict[str, Instances], dict[str, Instances]]:
    """Predictions and ground truth by image name; the module keeps its mode."""
    looks: Any = Thorough(module) if thorough else module  # type: ignore[arg-type]
    was_training = module.training
    module.eval()
    predicted, truth = {}, {}
    for item in dataset:
        found = segment_image(looks, item.image, FLOOR, device)
        predicted[item.image.name] = _judgeable(found, item.ignored)
        truth[item.image.name] = item.instances
    module.train(was_training)
    return predicted, truth


def _judgeable(found: Instances, ignored: Mask | None) -> Instances:
    """Without what lies mostly where nobody has said what is there: it is neither right nor wrong."""
    if ignored is None:
        return found
    hidden = found.intersection(Instances.from_masks(found.shape, [ignored]))[:, 0]
    return found.select(2 * hidden <= found.areas)


def average_precision_of(
    module: nn.Module, dataset: LabelledDataset, device: torch.device
) -> float:
    """COCO mask AP of an engine on a labelled set."""
    return average_precision(*predict_dataset(module, dataset, device))
