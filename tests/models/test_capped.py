"""In training, that an image is full is said once of a network, with what it means; in prediction of each image."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from organoseg.core import Image, Instances, Mask
from organoseg.dataset import LabelledDataset, LabelledImage
from organoseg.distill.labeller import Labeller
from organoseg.distill.pool import Picture, label_pool
from organoseg.distill.pseudo_labels import OrganoidFilter
from organoseg.models.capped import told_once
from organoseg.models.protocol import CappedResultWarning
from organoseg.training.validation import predict_dataset

CPU = torch.device("cpu")


class Full(torch.nn.Module):
    """Returns as many organoids as it can, always."""

    max_instances = 2
    capacity_option = "queries"

    def segment(self, pixels: torch.Tensor, score_threshold: float = 0.05) -> list[Instances]:
        shape = (int(pixels.shape[2]), int(pixels.shape[3]))
        masks = [Mask(0, 0, np.ones((9, 9), bool)), Mask(20, 20, np.ones((9, 9), bool))]
        found = Instances.from_masks(shape, masks, scores=np.array([0.9, 0.8], np.float32))
        return [found] * len(pixels)


class Source:
    def read(self, index: int) -> Picture:
        return Picture(f"{index}.png", np.zeros((48, 48), np.float32))


def dataset() -> LabelledDataset:
    rng = np.random.default_rng(0)
    none = Instances.empty((48, 48))
    pictures = rng.integers(0, 255, (3, 48, 48)).astype(np.uint8)
    return LabelledDataset(
        tuple(LabelledImage(Image(p, name=f"{k}.png"), none) for k, p in enumerate(pictures))
    )


def train_a_little(network: Any) -> None:
    """Two validations and a pool that is labelled from four views: eighteen looks, all full."""
    predict_dataset(network, dataset(), CPU)
    predict_dataset(network, dataset(), CPU, thorough=True)
    labeller = Labeller(OrganoidFilter(), (0.9, 1.15, 1.4, 1.7))
    label_pool(labeller, network, Source(), (0, 1, 2), CPU)


def test_it_is_said_once_of_each_network_and_says_what_it_means() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for network in (Full(), Full()):
            train_a_little(network)
            train_a_little(network)
    said = [str(w.message) for w in caught if issubclass(w.category, CappedResultWarning)]
    assert len(said) == 2
    assert "as many organoids of an image as it can, 2" in said[0]
    assert "Early in training these are guesses" in said[0]
    assert "raise model.options.queries" in said[0]


def test_other_warnings_pass_and_so_do_results_and_errors() -> None:
    def act() -> int:
        warnings.warn("something else", RuntimeWarning, stacklevel=1)
        return 5

    with pytest.warns(RuntimeWarning, match="something else"):
        assert told_once(Full(), act) == 5
    with pytest.raises(ZeroDivisionError):
        told_once(Full(), lambda: 1 // 0)
