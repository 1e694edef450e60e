"""Batches made ahead: whoever makes them, they are the same, and what goes wrong there is said here."""

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from organoseg.core import DataError, RunError
from organoseg.dataset import load_coco
from organoseg.distill.views import STRONG, Geometry
from organoseg.training.ahead import Prefetch, Workers, workers_of
from organoseg.training.feed import LabelledFeed, Share, UnlabelledBatch, UnlabelledFeed
from organoseg.training.unlabelled import FolderImages
from tests.training.tiny import ARCHIVE

GEOMETRY = Geometry(64)


@dataclass
class Odd:
    """A feed that fails in a way that is told by its step."""

    in_order = False

    def __call__(self, step: int) -> UnlabelledBatch:
        if step == 1:
            raise DataError("the image is broken", where="a.png", remedy="Mend it.")
        if step == 2:
            os._exit(3)
        return UnlabelledBatch(torch.full((1,), float(step)), torch.zeros(1))


@dataclass
class Mortal:
    """A feed whose helpers die, as they do of a signal that a cluster sends to every process of a run."""

    in_order = False

    def __call__(self, step: int) -> UnlabelledBatch:
        if multiprocessing.parent_process() is not None:
            os._exit(15)
        return UnlabelledBatch(torch.full((1,), float(step)), torch.zeros(1))


def unlabelled(data: Path) -> UnlabelledFeed:
    from organoseg.archive import FolderArchive

    images = FolderImages(FolderArchive.open(data / "archive"), 0)
    assert len(images) == len(ARCHIVE)
    return UnlabelledFeed(images, len(images), 4, 0, GEOMETRY, STRONG)


def test_processes_and_a_thread_make_the_same_bits_in_the_same_order(data: Path) -> None:
    labelled = LabelledFeed(load_coco(data / "labelled.json", data / "images"), 4, 0, GEOMETRY)
    ahead = Prefetch(labelled, Workers(2), last=5)
    try:
        for step in (0, 1, 2, 4):  # after a resume steps begin anywhere
            made, expected = ahead(step), labelled(step)
            assert torch.equal(made.pixels, expected.pixels)
            for a, b in zip(made.targets, expected.targets, strict=True):
                assert a.instances.to_rles() == b.instances.to_rles()
                assert np.array_equal(a.weights, b.weights)
    finally:
        ahead.close()
    feed = unlabelled(data)
    thread = Prefetch(feed)
    try:
        assert torch.equal(thread(3).strong, feed(3).strong)
    finally:
        thread.close()


def test_an_error_in_a_process_keeps_its_words_and_a_dead_process_is_named() -> None:
    ahead = Prefetch(Odd(), Workers(1), last=2)
    try:
        assert float(ahead(0).weak) == 0
        with pytest.raises(DataError) as caught:
            ahead(1)
        assert (caught.value.where, caught.value.remedy) == ("a.png", "Mend it.")
        with pytest.raises(RunError, match=r"has ended by itself.*training\.workers"):
            ahead(2)
    finally:
        ahead.close()


@pytest.mark.parametrize(("batch", "of"), [(4, 2), (5, 2), (3, 3), (7, 4)])
def test_the_shares_of_a_batch_are_the_batch(data: Path, batch: int, of: int) -> None:
    known = load_coco(data / "labelled.json", data / "images")
    whole = LabelledFeed(known, batch, 0, GEOMETRY)(3).pixels
    parts = [
        LabelledFeed(known, batch, 0, GEOMETRY, share=Share(r, of))(3).pixels for r in range(of)
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert {len(p) for p in parts} <= {batch // of, batch // of + 1}


def test_a_processor_keeps_its_cores_for_the_network() -> None:
    assert workers_of("auto", on_gpu=False) == Workers(0, False)
    assert workers_of("auto", on_gpu=True).pin
    assert workers_of(3, on_gpu=False) == Workers(3, False)


def test_a_run_that_was_told_to_stop_finishes_its_step_without_helpers() -> None:
    told: list[bool] = []
    ahead = Prefetch(Mortal(), Workers(1), last=9, stopping=lambda: bool(told))
    try:
        with pytest.raises(RunError, match="has ended by itself"):
            ahead(3)
        told.append(True)
        assert float(ahead(4).weak[0]) == 4
    finally:
        ahead.close()
