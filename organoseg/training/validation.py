"""The figure a run is steered by."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from organoseg.core import Instances
from organoseg.dataset import LabelledDataset
from organoseg.evaluation import average_precision
from organoseg.inference.image import segment_image
from organoseg.models.ensemble import Thorough

#: Low enough for the tail of the precision-recall curve.
FLOOR = 0.05


def predict_dataset(
    module: nn.Module, dataset: LabelledDataset, device: torch.device, thorough: bool = False
) -> tuple[dict[str, Instances], dict[str, Instances]]:
    """Predictions and ground truth by image name, where somebody looked; the module keeps its mode."""
    looks: Any = Thorough(module) if thorough else module  # type: ignore[arg-type]
    was_training = module.training
    module.eval()
    predicted, truth = {}, {}
    for item in dataset:
        predicted[item.image.name] = item.judged(segment_image(looks, item.image, FLOOR, device))
        truth[item.image.name] = item.instances
    module.train(was_training)
    return predicted, truth


def average_precision_of(
    module: nn.Module, dataset: LabelledDataset, device: torch.device
) -> float:
    """COCO mask AP of an engine on a labelled set."""
    return average_precision(*predict_dataset(module, dataset, device))
