"""Every format ends as the same data set, with the same pixels, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from organoseg.core import DataError, Instances, UsageError, pixel_hash
from organoseg.dataset import Split, load_coco
from organoseg.dataset.sources import IMPORTERS, Rules, import_source
from organoseg.io import read_image
from organoseg.io.geojson import write_geojson
from organoseg.io.roi_zip import write_rois
from organoseg.review.dataset_folder import DatasetFolder
from tests.core.strategies import same
from tests.dataset.sources import written
from tests.dataset.sources.written import BOXES, SIZE, image, loaded

Writer = Callable[[Path], None]


def _coco(folder: Path) -> None:
    written.coco(folder / "annotations" / "instances.json", "a.png", "b.png")


def _labelme(folder: Path) -> None:
    # The path of another computer, as LabelMe writes it there.
    for name in "ab":
        written.labelme(folder / "json" / f"{name}.json", f"..\\images\\{name}.png")


def _cvat(folder: Path) -> None:
    written.cvat(folder / "annotations.xml", "a.png", "b.png")


def _qupath(folder: Path) -> None:
    for name in "ab":
        write_geojson(folder / f"{name}.geojson", written.organoids(), {1: "organoid"}, name)


def _imagej(folder: Path) -> None:
    write_rois(folder / "RoiSet_a.zip", written.organoids(), {1: "organoid"})
    write_rois(folder / "b_rois.zip", written.organoids(), {1: "organoid"})


def _cellpose(folder: Path) -> None:
    for name in "ab":
        written.cellpose(folder / "images" / f"{name}_seg.npy")
        # Cellpose leaves these beside, and neither is an image or a second format.
        written.label_image(folder / "images" / f"{name}_cp_masks.png")


def _boxes(folder: Path) -> None:
    for name in "ab":
        boxes = {
            str(n): {"x1": y0, "y1": x0, "x2": y1, "y2": x1, "confidence": 1, "box_id": n}
            for n, (y0, x0, y1, x1) in enumerate(BOXES)
        }
        (folder / f"{name}.json").write_text(json.dumps(boxes))


def _label_images(folder: Path) -> None:
    for name in "ab":
        written.label_image(folder / "masks" / f"{name}.png")


FORMATS: dict[str, Writer] = {
    "coco": _coco,
    "labelme": _labelme,
    "cvat": _cvat,
    "qupath": _qupath,
    "imagej": _imagej,
    "cellpose": _cellpose,
    "boxes": _boxes,
    "label-images": _label_images,
}
FLAT = ("cellpose", "label-images")  # cannot hold overlap


def source(folder: Path, form: str) -> Path:
    """Two images, and their labels in one format."""
    for seed, name in enumerate("ab"):
        image(folder / "images" / f"{name}.png", seed)
    FORMATS[form](folder)
    return folder


def expected(form: str) -> Instances:
    if form in FLAT:
        labels = np.zeros(SIZE, np.uint16)
        for number, (y0, x0, y1, x1) in enumerate(BOXES, start=1):
            labels[y0:y1, x0:x1] = number
        return Instances.from_labels(labels)
    return written.organoids()


def test_every_format_has_its_test() -> None:
    assert set(FORMATS) == set(IMPORTERS)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_a_format_is_recognised_and_its_pixels_come_out_as_training_reads_them(
    tmp_path: Path, form: str, packed: bool
) -> None:
    folder = source(tmp_path / "export", form)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    given = written.zipped(folder, tmp_path / "export.zip", "top/") if packed else folder
    rules = Rules(boxes="ellipse" if form == "boxes" else "refuse")
    report = import_source(given, tmp_path / "out", rules)
    assert report.importer == form
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    found = loaded(tmp_path / "out")
    assert found.names == ("images/a.png", "images/b.png")
    assert dict(found.classes) == {1: "organoid"}
    for item in found:
        if form == "boxes":
            assert item.instances.boxes.tolist() == [list(box) for box in BOXES]
            assert set(item.instances.sources) == {"box"}
            continue
        plain = item.instances.replace(
            sources=("",) * 3, ids=np.arange(1, 4), scores=np.ones(3, np.float32)
        )
        assert same(plain, expected(form))
    assert sum(report.organoids.values()) == 6
    # Nothing is left of what was unpacked or half written.
    left = {"export", "out"} | ({"export.zip"} if packed else set())
    assert {p.name for p in tmp_path.iterdir()} == left


def test_the_folder_says_where_everything_came_from(tmp_path: Path) -> None:
    folder = source(tmp_path / "export", "cellpose")
    import_source(folder, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "import.json").read_text())
    assert record["format"] == "organoseg import 1"
    assert record["importer"] == "cellpose"
    assert record["source"] == {"path": str(folder)}
    one = record["images"]["images/a.png"]
    picture = folder / "images" / "a.png"
    assert one["image_sha256"] == hashlib.sha256(picture.read_bytes()).hexdigest()
    labels = (folder / "images" / "a_seg.npy").read_bytes()
    assert one["labels"] == {"images/a_seg.npy": hashlib.sha256(labels).hexdigest()}
    assert one["key"] == pixel_hash(read_image(picture).plane())
    assert (one["organoids"], one["group"]) == (3, "images")
    assert one["sources"] == {"cellpose": 2, "person": 1}
    copied = (tmp_path / "out" / "images" / "images" / "a.png").read_bytes()
    assert copied == picture.read_bytes()


def test_an_archive_is_named_by_its_checksum_and_groups_do_not_depend_on_where_it_was_unpacked(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "plate7"
    image(folder / "a.png")
    written.label_image(folder / "a_masks.png")
    path = written.zipped(folder, tmp_path / "plate7.zip")
    report = import_source(path, tmp_path / "out")
    assert report.source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report.images["a.png"].group == "plate7"


def test_reviews_can_be_added_to_an_imported_set(tmp_path: Path) -> None:
    import_source(source(tmp_path / "export", "coco"), tmp_path / "out")
    folder = DatasetFolder.open(tmp_path / "out")
    assert len(folder.labels) == len(folder.keys) == 2
    folder.save()
    assert len(loaded(tmp_path / "out", "train")) == 2


def test_an_imported_set_can_be_imported_again(tmp_path: Path) -> None:
    import_source(source(tmp_path / "export", "coco"), tmp_path / "one")
    rules = Rules(images=tmp_path / "one" / "images")
    import_source(tmp_path / "one" / "labels.json", tmp_path / "two", rules)
    for first, second in zip(loaded(tmp_path / "one"), loaded(tmp_path / "two"), strict=True):
        assert first.name == second.name
        assert same(first.instances, second.instances)


def test_regions_where_nobody_looked_stay_regions(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    image(folder / "a.png")
    path = written.coco(folder / "labels.json", "a.png")
    document = json.loads(path.read_text())
    document["annotations"][2] |= {"iscrowd": 1, "ignore": 1}
    path.write_text(json.dumps(document))
    import_source(folder, tmp_path / "out")
    (item,) = loaded(tmp_path / "out")
    assert len(item.instances) == 2
    assert item.ignored is not None
    assert item.ignored.boxes.tolist() == [list(BOXES[2])]


def test_out_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="something there"):
        import_source(source(tmp_path / "export", "coco"), tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


# -- label images -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        ("{}_img.png", "{}_masks_organoid.png"),
        ("{}.png", "{}_mask.png"),
        ("{}_image.png", "{}_label.png"),
        ("Images/{}.png", "Masks/{}.png"),
        ("set/image/{}.png", "set/label/{}.png"),
        ("images/{}.png", "masks/{}_mask.png"),
        ("images/{}.png", "masks/{}_cp_masks.tif"),
        ("raw/{}.png", "masks/{}.tif"),
        ("images/{}.png", "ground_truth/{}.png"),
        # As `organoseg predict` calls its label images.
        ("images/{}.png", "labels/{}.png.tif"),
        ("images/plate1/{}.png", "labels/plate1/{}.png.tif"),
    ],
)
def test_usual_names_are_recognised(tmp_path: Path, picture: str, label: str) -> None:
    for seed, name in enumerate("ab"):
        image(tmp_path / "in" / picture.format(name), seed)
        written.label_image(tmp_path / "in" / label.format(name))
    report = import_source(tmp_path / "in", tmp_path / "out")
    assert report.importer == "label-images"
    assert len(report.images) == 2


def test_other_names_are_given_as_patterns(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        image(tmp_path / "in" / "raw" / f"{name}-bf.png", seed)
        written.label_image(tmp_path / "in" / "truth" / f"t_{name}.png")
    rules = Rules(image_pattern="raw/*-bf.png", label_pattern="truth/t_*.png")
    assert len(import_source(tmp_path / "in", tmp_path / "out", rules).images) == 2
    with pytest.raises(DataError, match="No file has a name like"):
        import_source(
            tmp_path / "in", tmp_path / "x", Rules(image_pattern="raw/*", label_pattern="no/*")
        )
    with pytest.raises(UsageError, match=r"has no \*"):
        import_source(
            tmp_path / "in", tmp_path / "x", Rules(image_pattern="raw/*", label_pattern="t.png")
        )


def test_foreground_is_refused_until_the_user_says_that_pieces_are_organoids(
    tmp_path: Path,
) -> None:
    image(tmp_path / "in" / "a.png")
    foreground = (organoids_painted() > 0).astype(np.uint8) * 255
    written.label_image(tmp_path / "in" / "a_mask.png", foreground)
    with pytest.raises(
        DataError, match=r"foreground without numbers: a.png \(2 pieces\).*--pieces"
    ):
        import_source(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    import_source(tmp_path / "in", tmp_path / "out", Rules(pieces=True))
    assert len(loaded(tmp_path / "out")[0].instances) == 2  # two that touch became one


def organoids_painted() -> np.ndarray:
    return written.organoids().render()


# -- sides and groups ---------------------------------------------------------------------------


def sided(folder: Path, **names: str) -> Path:
    """A folder of label images for each side; the same letter is the same picture."""
    for side, letters in names.items():
        for letter in letters:
            image(folder / side / f"{side}{letter}_img.png", ord(letter))
            written.label_image(folder / side / f"{side}{letter}_masks_organoid.png")
    return folder


def test_the_sources_own_sides_are_kept(tmp_path: Path) -> None:
    report = import_source(
        sided(tmp_path / "in", train="abc", val="de", eval="f"), tmp_path / "out"
    )
    assert dict(report.sides) == {"train": 3, "validation": 2, "test": 1}
    assert loaded(tmp_path / "out", "test").names == ("eval/evalf_img.png",)
    split = Split.load(tmp_path / "out" / "split.json")
    assert split.names("validation") == ["val/vald_img.png", "val/vale_img.png"]


def test_a_picture_on_two_sides_is_refused_or_taken_out_of_training(tmp_path: Path) -> None:
    folder = sided(tmp_path / "in", train="abc", test="c")
    with pytest.raises(DataError, match=r"same picture on two sides: train/trainc.* is test/testc"):
        import_source(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report = import_source(folder, tmp_path / "out", Rules(repair=True))
    assert dict(report.sides) == {"train": 2, "test": 1}
    assert [len(who) for who in report.left_out.values()] == [1]
    assert "train/trainc_img.png" not in loaded(tmp_path / "out").names


def test_images_outside_the_folders_that_have_sides_are_named(tmp_path: Path) -> None:
    folder = sided(tmp_path / "in", train="ab", val="c", more="d")
    with pytest.raises(DataError, match=r"no folder called train.*more/mored_img\.png"):
        import_source(folder, tmp_path / "out")
    report = import_source(folder, tmp_path / "out", Rules(sides="groups"))
    assert set(report.sides) == {"train", "validation"}


def test_wells_that_the_source_parts_are_said(tmp_path: Path) -> None:
    for seed, (side, field) in enumerate((("train", 1), ("val", 2))):
        name = f"P1_p00_z00_0_A01f{field:02d}d0"
        image(tmp_path / "in" / side / f"{name}.png", seed)
        written.labelme(tmp_path / "in" / side / f"{name}.json", f"{name}.png")
    report = import_source(tmp_path / "in", tmp_path / "out")
    assert any("part 1 groups (P1/A01)" in note for note in report.notes)


def test_groups_are_dealt_whole(tmp_path: Path) -> None:
    for seed in range(12):
        image(tmp_path / "in" / f"w{seed // 2}_{seed}.png", seed)
        written.label_image(tmp_path / "in" / f"w{seed // 2}_{seed}_mask.png")
    rules = Rules(group_pattern=r"(w\d)_", validation=0.34, test=0.17)
    report = import_source(tmp_path / "in", tmp_path / "out", rules)
    assert dict(report.sides) == {"train": 6, "validation": 4, "test": 2}
    split = Split.load(tmp_path / "out" / "split.json")  # refuses a group on two sides
    assert set(split.groups.values()) == {f"w{n}" for n in range(6)}
    alone = import_source(tmp_path / "in", tmp_path / "alone")
    assert dict(alone.sides) == {"train": 12}
    assert any("too few groups" in note for note in alone.notes)
    with pytest.raises(DataError, match=r"cannot fill 2 sides.*--group-pattern"):
        import_source(tmp_path / "in", tmp_path / "x", Rules(sides="groups"))


def test_files_of_labels_say_the_side_by_their_name(tmp_path: Path) -> None:
    for seed, side in enumerate(("train", "val")):
        # Both folders hold an image of the same name, as detectors' exports have it.
        image(tmp_path / "in" / "images" / side / "0001.png", seed)
        written.coco(tmp_path / "in" / "annotations" / f"instances_{side}.json", "0001.png")
    report = import_source(tmp_path / "in", tmp_path / "out")
    assert {name: r.side for name, r in report.images.items()} == {
        "images/train/0001.png": "train",
        "images/val/0001.png": "validation",
    }


# -- classes ------------------------------------------------------------------------------------


def classed(folder: Path) -> Path:
    image(folder / "a.png")
    kinds = ("cyst", "bud", "debris")
    shapes = [
        {"label": kind, "points": written.corners(box), "shape_type": "polygon"}
        for kind, box in zip(kinds, BOXES, strict=True)
    ]
    written.labelme(folder / "a.json", "a.png", shapes)
    return folder


def test_classes_are_those_of_the_labels_or_those_that_the_user_names(tmp_path: Path) -> None:
    folder = classed(tmp_path / "in")
    report = import_source(folder, tmp_path / "all")
    assert report.classes == {1: "cyst", 2: "bud", 3: "debris"}
    assert loaded(tmp_path / "all")[0].instances.classes.tolist() == [1, 2, 3]
    rules = Rules(classes=("bud", "cyst"), skip_classes=("debris",))
    report = import_source(folder, tmp_path / "two", rules)
    assert loaded(tmp_path / "two")[0].instances.classes.tolist() == [2, 1]
    assert report.left_out == {"class debris, which is no organoid": ["a.png"]}
    import_source(folder, tmp_path / "one", Rules(one_class=True))
    assert loaded(tmp_path / "one")[0].instances.classes.tolist() == [1, 1, 1]


def test_an_unknown_class_is_named_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown class: debris \(1 in a\.png\).*--skip-classes"):
        import_source(classed(tmp_path / "in"), tmp_path / "out", Rules(classes=("cyst", "bud")))
    assert not (tmp_path / "out").exists()


# -- real files ---------------------------------------------------------------------------------


def test_m_orgaquant_keeps_every_mask(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "m_orgaquant"
    if not (folder / "instances_test.json").exists():
        pytest.skip(f"no M-OrgaQuant in {folder}")
    rules = Rules(images=folder / "test")
    report = import_source(folder / "instances_test.json", tmp_path / "out", rules)
    assert dict(report.organoids) == {"organoids": 807}
    assert dict(report.sides) == {"test": 56}
    from organoseg.io.coco_json import parse_coco_instances

    source_masks = parse_coco_instances(folder / "instances_test.json").instances
    ours = parse_coco_instances(tmp_path / "out" / "labels.json").instances
    assert ours.keys() == source_masks.keys()
    for name, found in ours.items():
        theirs = source_masks[name].to_rles()
        assert [rle["counts"] for rle in found.to_rles()] == [rle["counts"] for rle in theirs]


def test_real_masks_survive_every_format_that_can_hold_them(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "m_orgaquant"
    if not (folder / "instances_test.json").exists():
        pytest.skip(f"no M-OrgaQuant in {folder}")
    names = sorted(p.name for p in (folder / "test").iterdir())[:4]
    given = load_coco(folder / "instances_test.json", folder / "test", names)
    assert max(item.instances.overlap_fraction().max() for item in given) > 0.1
    for form in ("roi", "geojson"):
        (tmp_path / form).mkdir()
        for item in given:
            stem = Path(item.name).stem
            shutil.copy(folder / "test" / item.name, tmp_path / form)
            if form == "roi":
                write_rois(tmp_path / form / f"{stem}.zip", item.instances)
            else:
                write_geojson(tmp_path / form / f"{stem}.geojson", item.instances)
        import_source(tmp_path / form, tmp_path / f"{form}-out")
        for item, found in zip(given, loaded(tmp_path / f"{form}-out"), strict=True):
            assert item.image.identity == found.image.identity
            assert np.array_equal(item.instances.to_dense(), found.instances.to_dense())


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_in_a_folder_leads_nowhere(tmp_path: Path) -> None:
    outside = image(tmp_path / "outside" / "a.png")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "sub").symlink_to(outside.parent)
    written.coco(folder / "labels.json", "../outside/a.png")
    with pytest.raises(DataError, match="missing image"):
        import_source(folder, tmp_path / "out")
