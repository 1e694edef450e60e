"""The world of the tiny Mask R-CNN's benchmark, and that its two methods differ in nothing but the method."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks import detectron2_tiny as tiny
from organoseg.core import RunError
from organoseg.io import read_instances
from organoseg.training.methods import Guided


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "PARTS", {"labelled": 2, "validation": 1, "test": 2, "unlabelled": 2})
        tiny.make_world(folder, (0, 1))
    return folder


def pixels(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.png"))]


def test_no_image_is_in_two_parts_and_each_seed_has_labels_of_its_own(out: Path) -> None:
    parts = ("labelled-0", "labelled-1", "validation", "test", "unlabelled")
    every = [image for part in parts for image in pixels(out / "world" / part)]
    assert len(every) == 2 + 2 + 1 + 2 + 2
    assert len(set(every)) == len(every)
    assert not (out / "world" / "unlabelled.json").exists()
    assert len(read_instances(out / "world" / "test.json")) == 2


def test_what_is_there_is_not_drawn_again_and_what_was_cut_off_is(out: Path) -> None:
    world = out / "world"
    (world / "test" / "test_000.png").write_bytes(b"mine")
    before = pixels(world / "validation")
    (world / "validation").rename(world / ".validation")  # as a killed process leaves it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "PARTS", {"labelled": 2, "validation": 1, "test": 2, "unlabelled": 2})
        tiny.make_world(out, (0, 1))
    assert pixels(world / "validation") == before
    assert (world / "test" / "test_000.png").read_bytes() == b"mine"


def test_the_methods_differ_in_method_and_archive_alone(out: Path) -> None:
    args = argparse.Namespace(
        recipe=tiny.RECIPE, steps=7, threads=1, overrides=["training.batch=2", "method.pool=3"]
    )
    first, second = tiny.plan(out, (1,))
    plain, guided = (tiny.recipe_of(run, out / "world", args) for run in (first, second))
    assert second.needs == (first,)
    assert isinstance(guided.method, Guided)
    assert guided.method.teacher == first.model
    assert guided.method.pool == 3
    assert guided.training == plain.training
    assert guided.model == plain.model
    assert guided.data.labelled == plain.data.labelled
    assert plain.data.unlabelled is None
    assert (guided.seed, plain.training.batch, plain.training.steps) == (1, 2, 7)


def test_a_command_that_fails_is_an_error_with_its_words() -> None:
    with pytest.raises(RunError, match=r"organoseg evaluate failed.*no such file"):
        tiny.organoseg("evaluate", "--predictions", "no-such.json", "--ground-truth", "none.json")
