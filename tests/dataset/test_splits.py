"""Splits by group, stored once; duplicates found before they leak."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoseg.core import DataError, Image, Instances, UsageError
from organoseg.dataset import LabelledDataset, LabelledImage, Split, split_by_group
from organoseg.dataset.duplicates import find_duplicates, find_near_duplicates, leakage

FRACTIONS: Any = {"train": 0.6, "validation": 0.2, "test": 0.2}


def picture(seed: int, name: str, group: str = "") -> Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 9), dtype=np.uint8)
    return Image(pixels, name=name, group=group)


def dataset(groups: list[int], twins: dict[int, int] | None = None) -> LabelledDataset:
    """One image for each entry of ``groups``; ``twins`` says which have another's pixels."""
    images = [
        picture((twins or {}).get(i, i), f"{i}.png", f"well {group}")
        for i, group in enumerate(groups)
    ]
    empty = Instances.empty((8, 9))
    return LabelledDataset(tuple(LabelledImage(image, empty) for image in images))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 5))
def test_groups_never_part_and_all_sides_are_filled(groups: list[int], seed: int) -> None:
    data = dataset(groups)
    if len(set(groups)) < 3:
        with pytest.raises(DataError, match="independent groups cannot fill 3 sides"):
            split_by_group(data, FRACTIONS, seed)
        return
    split = split_by_group(data, FRACTIONS, seed)
    assert list(split.sides) == list(data.names)
    assert split == split_by_group(data, FRACTIONS, seed)
    sides_of: dict[int, set[str]] = {}
    for group, side in zip(groups, split.sides.values(), strict=True):
        sides_of.setdefault(group, set()).add(side)
    assert all(len(sides) == 1 for sides in sides_of.values())
    assert set(split.sides.values()) == set(FRACTIONS)
    split.check(data)


def test_shares_come_near_the_fractions() -> None:
    split = split_by_group(dataset([i // 4 for i in range(200)]), FRACTIONS)
    assert Counter(split.sides.values()) == {"train": 120, "validation": 40, "test": 40}
    other = split_by_group(dataset([i // 4 for i in range(200)]), FRACTIONS, seed=1)
    assert other.sides != split.sides


def test_groups_that_share_a_picture_stay_together() -> None:
    data = dataset([0, 1, 2, 3, 4, 5], twins={5: 0, 4: 1})
    for seed in range(5):
        split = split_by_group(data, FRACTIONS, seed)
        assert split.sides["0.png"] == split.sides["5.png"]
        assert split.sides["1.png"] == split.sides["4.png"]


def test_a_split_that_leaks_is_refused() -> None:
    data = dataset([0, 1], twins={1: 0})
    split = Split({"0.png": "train", "1.png": "test"}, {"0.png": "well 0", "1.png": "well 1"})
    with pytest.raises(DataError, match=r"same picture is 0\.png in train and 1\.png in test"):
        split.check(data)
    with pytest.raises(DataError, match="two sides"):
        Split({"0.png": "train", "1.png": "test"}, {"0.png": "well", "1.png": "well"})
    with pytest.raises(DataError, match="no side in the split: 2"):
        split.check(dataset([0, 0, 0]))


def test_crops_inherit_the_side_of_their_group() -> None:
    split = split_by_group(dataset([0, 0, 1, 2, 3]), FRACTIONS)
    assert split.side_of_group("well 0") == split.sides["1.png"]
    assert split.side_of_group("well 9") is None
    assert set(split.names("train")) == {n for n, side in split.sides.items() if side == "train"}


def test_a_split_is_stored_once(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    data = dataset(list(range(12)))
    split = split_by_group(data, FRACTIONS, seed=3)
    split.save(path)
    assert Split.load(path) == split
    split.save(path)
    before = path.read_bytes()
    with pytest.raises(DataError, match="decided once"):
        split_by_group(data, FRACTIONS, seed=4).save(path)
    assert path.read_bytes() == before


def _with(**changes: Any) -> str:
    good = {
        "format": "organoseg split 1",
        "seed": 0,
        "sides": {"a": "train", "b": "test"},
        "groups": {"a": "x", "b": "y"},
    }
    return json.dumps({**good, **changes})


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        _with(sides={"a": "training"}),
        _with(sides={}),
        _with(groups={"a": "x"}),
        _with(groups={"a": "x", "b": "x"}),
        _with(format="other"),
        _with(more=1),
    ],
)
def test_a_damaged_split_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(DataError):
        Split.load(path)


@pytest.mark.parametrize(
    "fractions", [{}, {"train": 0.5}, {"train": 1.5, "test": -0.5}, {"learn": 1.0}]
)
def test_impossible_fractions_are_a_usage_error(fractions: Any) -> None:
    with pytest.raises(UsageError):
        split_by_group(dataset([0, 1, 2]), fractions)


def test_duplicates_and_leakage_are_found_by_pixels() -> None:
    images = [picture(0, "a"), picture(1, "b"), picture(0, "c"), picture(0, "d")]
    assert find_duplicates(images) == [("a", "c", "d")]
    assert leakage(images[:2], images[2:]) == [("a", "c"), ("a", "d")]
    assert leakage(images[1:2], images[2:]) == []


def test_near_duplicates_survive_brightness_and_noise_but_not_content() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:90, 0:120]

    def scene(centres: Any) -> Any:
        return sum(80 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 300) for a, b in centres)

    one, other = scene([(20, 30), (60, 90)]), scene([(70, 20), (30, 60)])
    images = [
        Image(one.astype(np.float32), name="a"),
        Image((1.2 * one + 9 + rng.normal(0, 1e-4, one.shape)).astype(np.float32), name="b"),
        Image(other.astype(np.float32), name="c"),
    ]
    assert find_duplicates(images) == []
    assert [(a, b) for a, b, _ in find_near_duplicates(images)] == [("a", "b")]
