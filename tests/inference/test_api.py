"""The two lines of the documentation, and what a look at several images or several times gives."""

from __future__ import annotations

import doctest
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import label

import organoseg
from organoseg.core import Image
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.inference import api
from organoseg.inference.image import Look
from organoseg.models.ensemble import Thorough
from organoseg.models.folder import read_description
from organoseg.models.protocol import CappedResultWarning
from tests.inference.test_folder import save


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("api") / "model", 0)


def picture(seed: int, size: int = 96) -> Image:
    return make_image(seed, SyntheticSpec(size=size, count=(2, 4), radius=(8, 20))).image


def test_the_examples_of_the_documentation_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").symlink_to(model.parent)
    tifffile.imwrite(tmp_path / "well_A1.tif", picture(0).pixels)
    monkeypatch.chdir(tmp_path)
    found = doctest.DocTestFinder().find(api.Model, globs={"organoseg": organoseg})
    runner = doctest.DocTestRunner()
    for case in found:
        runner.run(case)
    assert runner.tries >= 5
    assert runner.failures == 0


def test_images_looked_at_together_are_as_looked_at_alone(model: Path) -> None:
    torch.manual_seed(0)
    ready = organoseg.load_model(model, "cpu", "fp32")
    images = [picture(n, size) for n, size in enumerate((96, 96, 160, 96))]
    # Of the third, only windows fit into a batch.
    look = Look(tile=96, overlap=32, batch=3)
    for image, (together, _) in zip(images, ready.look_at_all(images, look=look), strict=True):
        alone, _ = ready.look(image, look=Look(tile=96, overlap=32))
        assert together.shape == image.shape
        assert len(together) == len(alone)
        assert np.allclose(together.scores, alone.scores, atol=1e-4)
        assert (together.iou(alone).max(axis=1, initial=0) > 0.98).all()


class Bright:
    """What is brighter than usual is an organoid; ``shapes`` has the sizes of what it was shown."""

    max_instances = 50

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def segment(self, pixels: torch.Tensor, score_threshold: float) -> list[organoseg.Instances]:
        self.shapes.append(tuple(pixels.shape[2:]))
        bright = [label(plane[0].numpy() > 0.5)[0].astype(np.int32) for plane in pixels]
        return [organoseg.Instances.from_labels(labels) for labels in bright]


def test_images_are_brought_to_the_scale_of_training_and_masks_back(model: Path) -> None:
    known = read_description(model).model_copy(update={"pixel_size": 1.0})
    ready = api.Model(Bright(), known, torch.device("cpu"))
    pixels = np.zeros((96, 120), np.uint8)
    pixels[10:40, 20:60] = pixels[50:90, 70:110] = 200
    expected, notes = ready.look(Image(pixels, pixel_size=(1.0, 1.0)))
    assert not notes
    # The same picture from cameras with smaller and larger pixels.
    for times in (2, 3):
        large = np.kron(pixels, np.ones((times, times), np.uint8))
        found, _ = ready.look(Image(large, pixel_size=(1 / times, 1 / times)))
        assert ready.module.shapes[-1] == pixels.shape
        assert np.diag(expected.scale(large.shape).iou(found)).min() > 0.95
    found, _ = ready.look(Image(pixels[::2, ::2].copy(), pixel_size=(2.0, 2.0)))
    assert ready.module.shapes[-1] == pixels.shape
    assert np.diag(expected.scale((48, 60)).iou(found)).min() > 0.9
    _, (note,) = ready.look(Image(pixels))
    assert "Give --pixel-size" in note


class Greedy:
    """Finds as many as it may in the image as it is, and nothing in the other looks."""

    max_instances = 3

    def segment(self, pixels: torch.Tensor, score_threshold: float) -> list[organoseg.Instances]:
        shape = (pixels.shape[2], pixels.shape[3])
        if shape != (40, 40):
            return [organoseg.Instances.empty(shape)]
        dense = np.zeros((3, *shape), bool)
        for n in range(3):
            dense[n, 12 * n : 12 * n + 8, 4:20] = True
        return [organoseg.Instances.from_dense(dense, scores=[0.9, 0.8, 0.7])]


def test_a_look_that_was_full_is_told_though_the_looks_together_are_not() -> None:
    looks = Thorough(Greedy(), zooms=(1.0, 1.5))  # type: ignore[arg-type]
    with pytest.warns(CappedResultWarning, match="one of several looks found 3"):
        (found,) = looks.segment(torch.zeros(1, 1, 40, 40), 0.05)
    assert len(found) <= 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        looks.segment(torch.zeros(1, 1, 30, 30), 0.05)
