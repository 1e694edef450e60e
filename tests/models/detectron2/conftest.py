"""Small networks and images for the detectron2 engine; tests that need the package skip where it is absent."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from organoseg.core import Instances, normalised
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.models.protocol import Target

SMALL = {"width": 32, "box_width": 64, "anchors": (12, 24, 48, 80, 120), "norm": "GN"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("detectron2") is None:
        skip = pytest.mark.skip(reason="detectron2 is not there: its manual says how it is built")
        for item in items:
            if item.get_closest_marker("detectron2"):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _same_numbers() -> Iterator[None]:
    torch.manual_seed(0)
    yield


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


def small(architecture: str = "mask_rcnn_R_18_FPN", **options: Any) -> Any:
    """A fresh engine of one class."""
    from organoseg.models.registry import build_engine

    return build_engine("detectron2", (1,), {**SMALL, "architecture": architecture, **options}, None)
