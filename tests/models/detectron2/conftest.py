"""Small networks and images for the detectron2 engine; tests that need the package skip where it is absent."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from organoseg.core import Instances, normalised
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.models.protocol import Target


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("detectron2") is None:
        skip = pytest.mark.skip(reason="detectron2 is not there: its manual says how it is built")
        for item in items:
            if item.get_closest_marker("detectron2"):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def labelled() -> tuple[torch.Tensor, list[Instances]]:
    """Two images (2, 1, 128, 128) with organoids that lie over each other."""
    spec = SyntheticSpec(size=128, count=(4, 7), radius=(8, 22), overlap=0.5)
    items = [make_image(seed, spec) for seed in (3, 4)]
    pixels = np.stack([normalised(i.image.plane()) for i in items])[:, None]
    return torch.from_numpy(pixels), [i.instances for i in items]


@pytest.fixture
def targets(labelled: tuple[torch.Tensor, list[Instances]]) -> list[Target]:
    """What people drew on them."""
    return [Target.labelled(i) for i in labelled[1]]
