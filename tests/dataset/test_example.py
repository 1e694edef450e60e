"""The example set is one that every other verb takes."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from organoseg.cli import data_example
from organoseg.core import UsageError
from organoseg.dataset import load_coco
from organoseg.dataset.example import PIXEL_SIZE, ExampleSize, write_example
from organoseg.io import read_image


def test_the_set_is_labelled_has_a_pixel_size_and_shares_no_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    data_example.add_verbs(parser.add_subparsers())
    out = tmp_path / "example"
    numbers = ["--labelled", "1", "--test", "2", "--wells", "3"]
    args = parser.parse_args(["example", "--out", str(out), *numbers])
    assert args.run_action(args) == 0
    assert (
        "1 labelled images, 2 test images, a plate of 3 wells (6 images)" in capsys.readouterr().out
    )
    labelled = load_coco(out / "labels.json", out / "labelled")
    test = load_coco(out / "test.json", out / "test")
    assert (len(labelled), len(test)) == (1, 2)
    assert labelled.mean_count > 0
    plate = [read_image(path) for path in sorted((out / "plate").iterdir())]
    assert plate[0].name == "plate1_A01_s1.tif"
    assert plate[2].name == "plate1_B01_s1.tif"
    assert len(plate) == 6
    images = [*plate, *(item.image for item in (*labelled, *test))]
    assert len({image.identity for image in images}) == len(images)
    assert all(np.allclose(image.pixel_size or 0, PIXEL_SIZE) for image in images)


def test_the_seed_decides_and_nothing_is_overwritten(tmp_path: Path) -> None:
    size = ExampleSize(1, 1, 1)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_example(tmp_path / name, size, seed)
    a, b, c = (read_image(tmp_path / n / "labelled" / "labelled_00.tif").identity for n in "abc")
    assert a == b != c
    with pytest.raises(UsageError):
        write_example(tmp_path / "a", size)
    with pytest.raises(UsageError):
        ExampleSize(wells=97)
