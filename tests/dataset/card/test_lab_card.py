"""A lab's own card: measured figures with known answers, and blanks for people."""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile

from organoseg.cli import data_card
from organoseg.core import DataError, Image, Instances, Mask, UsageError
from organoseg.dataset import LabelledDataset, LabelledImage
from organoseg.dataset.card import read_card, statistics_of
from organoseg.dataset.card.card import SECTIONS
from organoseg.dataset.card.statistics import read_subsets
from organoseg.io import write_instances


def square(y: int, x: int, side: int) -> Mask:
    return Mask(y, x, np.ones((side, side), bool))


def labelled(name: str, masks: list[Mask], group: str, seed: int = 0) -> LabelledImage:
    pixels = np.random.default_rng(seed).integers(0, 255, (60, 80), dtype=np.uint8)
    image = Image(pixels, pixel_size=(0.5, 0.5), name=name, group=group)
    return LabelledImage(image, Instances.from_masks((60, 80), masks))


@pytest.fixture
def small() -> LabelledDataset:
    """Two overlapping squares of 10 px, one at the border, one alone; c has the pixels of a."""
    return LabelledDataset(
        (
            labelled("a.tif", [square(10, 10, 10), square(10, 15, 10)], "A01", 1),
            labelled("b.tif", [square(0, 40, 20)], "A02", 2),
            labelled("c.tif", [], "A01", 1),
        )
    )


def test_figures_with_known_answers(small: LabelledDataset) -> None:
    found = statistics_of(small)
    assert (found.images, found.organoids, found.empty_images, found.most_in_one) == (3, 3, 1, 2)
    assert found.overlapping == pytest.approx(2 / 3)
    assert found.touching_border == pytest.approx(1 / 3)
    assert found.shapes == {(60, 80): 3}
    assert found.pixel_sizes == {0.5: 3}
    assert found.groups == {"A01": 2, "A02": 1}
    assert found.duplicates == (("a.tif", "c.tif"),)
    diameter = 10 * np.sqrt(4 / np.pi)
    assert found.diameter_px is not None
    assert found.diameter_um is not None
    assert found.diameter_px[1] == pytest.approx(diameter)
    assert found.diameter_um[1] == pytest.approx(diameter / 2)


def test_a_split_that_leaks_is_told(small: LabelledDataset) -> None:
    found = statistics_of(small, {"train": ["a.tif", "b.tif"], "test": ["c.tif"]})
    assert [(s.name, s.images, s.organoids, s.groups) for s in found.sides] == [
        ("train", 2, 3, 2),
        ("test", 1, 0, 1),
    ]
    (leak,) = found.leaks
    assert leak.sides == ("train", "test")
    assert leak.groups == ("A01",)
    assert leak.pictures == (("a.tif", "c.tif"),)


def test_nested_subsets_are_no_leak_of_each_other(small: LabelledDataset) -> None:
    assert statistics_of(small, {"few": ["a.tif"], "more": ["a.tif", "b.tif"]}).leaks == ()


def test_a_set_without_organoids_is_measured_too() -> None:
    found = statistics_of(LabelledDataset((labelled("a.tif", [], ""),)))
    assert (found.organoids, found.diameter_px, found.overlapping) == (0, None, 0.0)


def test_a_subset_of_another_set_is_refused(small: LabelledDataset) -> None:
    with pytest.raises(DataError, match="'test' are not in the labelled set"):
        statistics_of(small, {"test": ["z.tif"]})


@pytest.mark.parametrize("content", ["[]", '{"seed": 1}', '{"train": [1]}'])
def test_a_file_without_a_split_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(DataError, match="Neither a split"):
        read_subsets(tmp_path / "s.json")


def test_one_group_for_all_is_told(
    on_disk: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card(*on_disk, "--out", str(tmp_path / "card.md"))
    assert "groups: 1" in capsys.readouterr().out
    assert "All images are of one group" in read_card(tmp_path / "card.md").sections["Known faults"]


def card(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    data_card.add_verbs(parser.add_subparsers())
    args = parser.parse_args(["card", *arguments])
    return int(args.run_action(args))


@pytest.fixture
def on_disk(small: LabelledDataset, tmp_path: Path) -> list[str]:
    (tmp_path / "images").mkdir()
    for item in small:
        tifffile.imwrite(tmp_path / "images" / item.name, item.image.pixels)
    write_instances(tmp_path / "labels.json", [(i.name, i.instances) for i in small])
    return [str(tmp_path / "labels.json"), "--images", str(tmp_path / "images")]


def test_the_verb_writes_a_card_with_its_blanks_counted(
    on_disk: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "card.md"
    options = ["--out", str(out), "--name", "Lab | 7", "--group-pattern", "([ab])?.tif"]
    assert card(*on_disk, *options) == 0
    said = capsys.readouterr().out
    assert "3 images, 3 organoids, 67 % overlapping" in said
    made = read_card(out)
    assert made.facts.name == "Lab | 7"
    assert made.facts.files[0].url == "labels.json"
    assert tuple(made.sections) == SECTIONS
    assert "license" in made.blanks()
    assert set(SECTIONS) <= set(made.blanks())
    assert f"{len(made.blanks())} places" in said
    assert "a.tif, c.tif" in made.sections["Known faults"]


def test_a_card_is_not_overwritten(on_disk: list[str], tmp_path: Path) -> None:
    out = tmp_path / "card.md"
    out.write_text("what somebody wrote")
    with pytest.raises(UsageError, match="may have written in it"):
        card(*on_disk, "--out", str(out))
    assert out.read_text() == "what somebody wrote"
    assert card(*on_disk, "--out", str(out), "--force") == 0


def test_a_card_with_blanks_is_told_apart_from_a_finished_one(
    on_disk: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, target = tmp_path / "card.md", tmp_path / "croissant.json"
    card(*on_disk, "--out", str(out))
    assert card(str(out)) == DataError.exit_code
    assert "still blank: license" in capsys.readouterr().err
    with pytest.raises(DataError, match="blanks that only a person"):
        card(str(out), "--croissant", str(target))
    assert not target.exists()
    text = out.read_text().replace("date_published: FILL IN", "date_published: '2026'")
    out.write_text(
        text.replace("pixel_size_um: FILL IN", "pixel_size_um: 0.5").replace("FILL IN", "ours")
    )
    assert card(str(out), "--croissant", str(target)) == 0
    assert json.loads(target.read_text())["license"]["name"] == "ours"
    _load_records(target)


def _load_records(path: Path) -> None:
    """The loader of MLCommons finds the organoids in the lab's file by what the document says."""
    mlcroissant = pytest.importorskip(
        "mlcroissant", reason="mlcroissant is not installed (part `dev`)"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records = list(mlcroissant.Dataset(str(path)).records("labels_organoids"))
    assert sorted(r["labels_organoids/area"] for r in records) == [100.0, 100.0, 400.0]
