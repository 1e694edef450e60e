"""The network sees windows of the size it was trained on; the image comes back whole."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from organoseg.core import Instances, UsageError
from organoseg.models.ensemble import Thorough
from organoseg.models.folder import load_module, save_model
from organoseg.models.mask2former.engine import Mask2FormerSegmenter
from organoseg.models.protocol import CappedResultWarning, capacity_of
from tests.models.mask2former.small import engine


def seeing(window: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Mask2FormerSegmenter, list[int]]:
    """An engine that finds what is bright in a window, and the sides of all windows it is shown."""
    module, sides = engine(), []

    def bright(pixels: torch.Tensor, threshold: float) -> list[Instances]:
        sides.extend(pixels.shape[2:])
        found = []
        for plane in pixels[:, 0].numpy():
            places, count = ndimage.label(plane > 0)
            shape = (plane.shape[0], plane.shape[1])
            dense = np.stack([places == n + 1 for n in range(count)]) if count else None
            found.append(
                Instances.from_dense(dense) if dense is not None else Instances.empty(shape)
            )
        return found

    module.train_on(window)
    monkeypatch.setattr(module, "_segment", bright)
    return module, sides


def squares(shape: tuple[int, int], corners: list[tuple[int, int]], side: int) -> torch.Tensor:
    pixels = torch.full((1, 1, *shape), -1.0)
    for y, x in corners:
        pixels[:, :, y : y + side, x : x + side] = 1
    return pixels


def test_a_large_image_is_seen_in_windows_and_every_organoid_found_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, sides = seeing(64, monkeypatch)
    corners = [(y, x) for y in range(3, 180, 29) for x in range(5, 220, 31)]
    pixels = squares((200, 240), corners, 11)
    found = module.segment(pixels, 0.0)[0]
    assert max(sides) <= 64
    assert len(found) == len(corners)
    assert found.areas.tolist() == [121] * len(corners)
    assert found.shape == (200, 240)


def test_an_organoid_larger_than_a_window_comes_back_in_one_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, _ = seeing(64, monkeypatch)
    found = module.segment(squares((160, 160), [(20, 30)], 100), 0.0)[0]
    assert found.areas.tolist() == [100 * 100]


def test_an_image_of_the_windows_size_is_seen_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    module, sides = seeing(64, monkeypatch)
    module.segment(squares((64, 50), [(3, 3)], 9), 0.0)
    assert sides == [64, 50]


def test_each_window_has_all_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    module, _ = seeing(64, monkeypatch)
    assert capacity_of(module, (64, 64)) == 12
    assert capacity_of(module, (128, 128)) == 9 * 12
    assert capacity_of(Thorough(module), (128, 128)) == 9 * 12
    many = squares((128, 128), [(y, x) for y in range(0, 120, 32) for x in range(0, 120, 24)], 9)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error"
        )  # 20 organoids, 12 queries, but never more than 9 in a window
        assert len(module.segment(many, 0.0)[0]) == 20


def test_a_full_window_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    module, _ = seeing(64, monkeypatch)
    crowd = squares((128, 128), [(y, x) for y in range(0, 60, 12) for x in range(0, 60, 12)], 6)
    with pytest.warns(CappedResultWarning, match=r"a window of 64 px holds 12 organoids"):
        module.segment(crowd, 0.0)


def test_the_window_is_the_training_crop_and_is_saved_with_the_model(tmp_path: Path) -> None:
    module = engine()
    module.train_on(96)
    module.train_on(128)  # what the options say stands
    save_model(tmp_path, module, "mask2former", module.options, {1: "organoid"}, 0.5, {})
    loaded, _ = load_module(tmp_path)
    assert loaded.options["window"] == 96
    assert capacity_of(loaded, (96, 96)) == 12  # type: ignore[arg-type]
    assert capacity_of(loaded, (300, 96)) > 12  # type: ignore[arg-type]


def test_a_crop_that_the_network_cannot_look_at_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="window"):
        engine().train_on(32)
