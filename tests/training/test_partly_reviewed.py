"""Images that are outlined only in part: what nobody looked at is neither organoid nor background."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from organoseg.core import DataError, Image, Instances, Mask
from organoseg.dataset import LabelledDataset, LabelledImage, load_coco
from organoseg.dataset.groups import by_pattern, regroup
from organoseg.distill.pool import labelled_density
from organoseg.distill.views import Geometry
from organoseg.io import write_instances
from organoseg.io.coco_json import parse_coco_instances
from organoseg.models.compact.assignment import assign
from organoseg.training.feed import LabelledFeed

SIZE = 96


def block(y: int, x: int, side: int) -> Mask:
    return Mask(y, x, np.ones((side, side), bool))


def left_half() -> Instances:
    """In two regions that overlap."""
    top, bottom = (np.ones((h, SIZE // 2), bool) for h in (SIZE - 9, SIZE - 20))
    return Instances.from_masks((SIZE, SIZE), [Mask(0, 0, top), Mask(20, 0, bottom)], ids=[50, 51])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "w1_a.tif", pixels)
    tifffile.imwrite(tmp_path / "w2_b.tif", pixels[::-1].copy())
    two = Instances.from_masks((SIZE, SIZE), [block(10, 60, 20), block(50, 70, 12)])
    items = [("w1_a.tif", two), ("w2_b.tif", two.select([0]).replace(ids=[9]))]
    write_instances(tmp_path / "labels.json", items, ignored={"w1_a.tif": left_half()})
    return tmp_path


def test_a_region_survives_the_file(folder: Path) -> None:
    data = load_coco(folder / "labels.json", folder)
    first, second = data
    assert first.ignored is not None
    assert np.array_equal(first.ignored.to_dense(), left_half().to_dense())
    assert len(first.instances) == 2, "the region is no organoid"
    assert second.ignored is None
    assert next(i.ignored for i in regroup(data, by_pattern(r"(w\d)_"))) is first.ignored
    # Other programs know such regions by COCO's own word.
    entries = json.loads((folder / "labels.json").read_text())["annotations"]
    assert [e["iscrowd"] for e in entries] == [0, 0, 1, 1, 0]
    assert len({e["id"] for e in entries}) == 5
    # A measurement against it would flatter or blame: it is refused.
    with pytest.raises(DataError, match="nobody looked"):
        parse_coco_instances(folder / "labels.json")


def test_nothing_is_taught_there(folder: Path) -> None:
    data = load_coco(folder / "labels.json", folder, names=["w1_a.tif"])
    feed = LabelledFeed(data, batch=6, seed=0, geometry=Geometry(crop=64, scale=(0.9, 1.1)))
    batch = feed(0)
    hidden = 0
    for target in batch.targets:
        kept = target.instances.select(~target.ignored)
        assert len(kept) <= 2
        assert target.ignored.sum() <= 2
        for mask in target.instances.select(target.ignored).masks:
            # A crop is turned and mirrored with its region: a half plane stays a block.
            assert mask.bits.mean() > 0.97
            hidden += mask.area
        cells = assign([target], 8, target.instances.shape, [1]).known[0]
        dense = target.instances.select(target.ignored).to_dense().any(axis=0)
        centres = dense[4::8, 4::8]
        assert not cells[centres].any()
        assert cells[~centres].any() or centres.all()
    assert hidden > 0


def test_an_image_of_only_a_region_teaches_nothing() -> None:
    everything = Instances.from_masks((SIZE, SIZE), [Mask(0, 0, np.ones((SIZE, SIZE), bool))])
    image = Image(np.zeros((SIZE, SIZE), np.uint8), name="a")
    item = LabelledImage(image, Instances.empty((SIZE, SIZE)), everything)
    feed = LabelledFeed(LabelledDataset((item,)), 2, 0, Geometry(crop=64))
    for target in feed(0).targets:
        assert target.ignored.tolist() == [True]
        assert not assign([target], 16, (64, 64), [1]).known.any()


def test_density_counts_what_was_looked_at(folder: Path) -> None:
    data = load_coco(folder / "labels.json", folder, names=["w1_a.tif"])
    assert labelled_density(data) == pytest.approx(2 / (SIZE * SIZE / 2))


def test_what_is_found_there_is_not_judged() -> None:
    found = Instances.from_masks((SIZE, SIZE), [block(5, 5, 10), block(5, 42, 10), block(5, 60, 9)])
    image = Image(np.zeros((SIZE, SIZE), np.uint8), name="a")
    item = LabelledImage(image, Instances.empty((SIZE, SIZE)), left_half())
    assert item.judged(found).ids.tolist() == [3]
    assert replace(item, ignored=None).judged(found) is found


def test_held_out_images_must_be_whole(folder: Path) -> None:
    from organoseg.training.data import load_data
    from organoseg.training.recipe import parse_recipe

    part = {"annotations": str(folder / "labels.json"), "images": str(folder)}
    tree = {
        "data": {
            "labelled": {**part, "names": ["w2_b.tif"]},
            "validation": {**part, "names": ["w1_a.tif"]},
        },
        "method": {"name": "supervised"},
    }
    with pytest.raises(DataError, match=r"only in part: w1_a\.tif"):
        load_data(parse_recipe(tree))
    tree["data"] = {"labelled": {**part, "names": ["w1_a.tif"]}}
    whole = load_data(parse_recipe(tree)).manifest
    data = json.loads((folder / "labels.json").read_text())
    data["annotations"] = [e for e in data["annotations"] if not e["iscrowd"]]
    (folder / "labels.json").write_text(json.dumps(data))
    assert load_data(parse_recipe(tree)).manifest != whole
