"""Labelled sets from COCO files: what is loaded, and every way it can be wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from organoseg.core import DataError, Image, Instances, UsageError
from organoseg.dataset import LabelledDataset, LabelledImage, few_label_split, load_coco
from organoseg.dataset.groups import by_pattern, group_key, members, regroup

SQUARE = [[2, 3, 8, 3, 8, 9, 2, 9]]


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Three images of 20 x 30, of two series; the last has no organoid."""
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    names = ["s1_a.png", "s1_b.png", "sub/s2_a.png"]
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 30), dtype=np.uint8)
        Picture.fromarray(pixels).save(folder / name)
    images = [
        {"id": i, "file_name": name, "height": 20, "width": 30} for i, name in enumerate(names)
    ]
    annotations = [
        {"id": i, "image_id": min(i, 1), "category_id": 1, "segmentation": SQUARE} for i in range(3)
    ]
    data = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "gut"}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(data))
    return tmp_path


def edit(folder: Path, change: Any) -> Path:
    path = folder / "labels.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def test_images_meet_their_organoids(labelled: Path) -> None:
    data = load_coco(labelled / "labels.json", labelled / "images")
    assert data.names == ("s1_a.png", "s1_b.png", "sub/s2_a.png")
    assert data.classes == {1: "gut"}
    assert [len(item.instances) for item in data] == [1, 2, 0]
    assert data.mean_count == 1
    assert data[2].image.name == "sub/s2_a.png", "the COCO file's own spelling is the key"
    assert data[0].image.shape == data[0].instances.shape == (20, 30)


def test_names_and_select_pick_in_order(labelled: Path) -> None:
    names = ["sub/s2_a.png", "s1_a.png"]
    data = load_coco(labelled / "labels.json", labelled / "images", names)
    assert data.names == tuple(names)
    assert data.select(["s1_a.png"]).names == ("s1_a.png",)
    with pytest.raises(DataError, match=r"not in the labelled set.*s1_b"):
        data.select(["s1_b.png"])
    with pytest.raises(DataError, match="empty"):
        load_coco(labelled / "labels.json", labelled / "images", [])


def test_missing_images_are_listed(labelled: Path) -> None:
    for name in ("s1_a.png", "s1_b.png"):
        (labelled / "images" / name).unlink()
    with pytest.raises(DataError, match=r"2 of 3 images are missing.*s1_a\.png, s1_b\.png") as got:
        load_coco(labelled / "labels.json", labelled / "images")
    assert got.value.remedy
    with pytest.raises(DataError, match="does not exist"):
        load_coco(labelled / "labels.json", labelled / "nowhere")


def test_a_scaled_image_is_named_with_both_sizes(labelled: Path) -> None:
    Picture.new("L", (60, 40)).save(labelled / "images" / "s1_b.png")
    with pytest.raises(DataError, match=r"s1_b\.png \(the file is 40 x 60, .* 20 x 30\)"):
        load_coco(labelled / "labels.json", labelled / "images")


def test_a_broken_image_is_named(labelled: Path) -> None:
    (labelled / "images" / "s1_a.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"s1_a\.png"):
        load_coco(labelled / "labels.json", labelled / "images")


@pytest.mark.parametrize("name", ["../labels.json", "/etc/hostname", "sub/../../x.png"])
def test_file_names_stay_inside_their_folder(labelled: Path, name: str) -> None:
    path = edit(labelled, lambda data: data["images"][0].update(file_name=name))
    with pytest.raises(DataError, match="lead out of the folder"):
        load_coco(path, labelled / "images")


def test_a_file_without_images_is_an_empty_set(labelled: Path) -> None:
    path = edit(labelled, lambda data: data.update(images=[], annotations=[]))
    with pytest.raises(DataError, match="empty"):
        load_coco(path, labelled / "images")


def test_repair_goes_through(labelled: Path) -> None:
    path = edit(labelled, lambda data: data["annotations"][0].update(segmentation=[]))
    with pytest.raises(DataError, match=r"Empty segmentation: annotation 0 of s1_a\.png"):
        load_coco(path, labelled / "images")
    with pytest.warns(UserWarning, match="1 x empty segmentation"):
        assert len(load_coco(path, labelled / "images", strict=False)[0].instances) == 0


def test_a_set_is_never_empty_and_its_names_are_unique() -> None:
    image = Image(np.zeros((4, 5), np.uint8), name="a")
    item = LabelledImage(image, Instances.empty((4, 5)))
    with pytest.raises(DataError, match="empty"):
        LabelledDataset(())
    with pytest.raises(DataError, match="for example a"):
        LabelledDataset((item, item))
    with pytest.raises(DataError, match=r"4 x 5 .* 5 x 4 .*\(a\)"):
        LabelledImage(image, Instances.empty((5, 4)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(value: float) -> None:
    pixels = np.zeros((4, 5), np.float32)
    pixels[2, 2] = value
    with pytest.raises(DataError, match=r"NaN or infinite pixels \(bad\.tif\)"):
        LabelledImage(Image(pixels, name="bad.tif"), Instances.empty((4, 5)))


def test_groups_come_from_names(labelled: Path) -> None:
    rule = by_pattern(r"(s\d+)_")
    data = load_coco(labelled / "labels.json", labelled / "images", group=rule)
    assert [item.image.group for item in data] == ["s1", "s1", "s2"]
    assert members(item.image for item in data) == {
        "s1": ["s1_a.png", "s1_b.png"],
        "s2": ["sub/s2_a.png"],
    }
    again = regroup(data, by_pattern(r"(s)\d+_(.)"))
    assert [item.image.group for item in again] == ["s/a", "s/b", "s/a"]
    with pytest.raises(DataError, match=r"does not match the file name \(s1_a\.png\)"):
        regroup(data, by_pattern("(x)"))
    for pattern in ("(", "s1"):
        with pytest.raises(UsageError, match="group pattern"):
            by_pattern(pattern)


def test_an_image_without_a_group_stands_alone() -> None:
    alone = [Image(np.zeros((4, 5), np.uint8), name=name) for name in "ab"]
    assert group_key(alone[0]) != group_key(alone[1])


def test_the_few_label_protocol(shared: Path) -> None:
    folder = shared / "data" / "m_orgaquant"
    splits = folder / "few_label_splits.json"
    names = few_label_split(splits, "labelled_5")
    data = load_coco(folder / "instances_val.json", folder / "val", names)
    assert list(data.names) == names
    assert len(names) == 5
    assert set(names) < set(few_label_split(splits, "labelled_15"))
    assert not set(few_label_split(splits, "labelled_60")) & set(
        few_label_split(splits, "validation")
    )
    with pytest.raises(DataError, match=r"No subset 'labelled_7'.*labelled_5, labelled_15"):
        few_label_split(splits, "labelled_7")
    with pytest.raises(DataError, match="No subset 'description'"):
        few_label_split(splits, "description")


@pytest.mark.parametrize("content", ["[]", '{"labelled_5": [1, 2]}', "{"])
def test_a_damaged_split_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "splits.json"
    path.write_text(content)
    with pytest.raises(DataError):
        few_label_split(path, "labelled_5")
