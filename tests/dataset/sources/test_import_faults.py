"""A source with a fault: it is named with file and reason, and nothing is imported."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from organoseg.core import DataError, RunError, UsageError
from organoseg.dataset.sources import Rules, bring_in, import_source, opening
from organoseg.io.roi_zip import write_rois
from tests.dataset.sources import written
from tests.dataset.sources.written import BOXES, SIZE, image, loaded
from tests.io.test_cellpose import Bomb
from tests.io.test_cellpose import written as cellpose_file


def refused(given: Path, out: Path, reason: str, rules: Rules | None = None, **more: Any) -> str:
    """Import, expect this reason, and that nothing was made; return the whole message."""
    with pytest.raises(DataError, match=reason) as caught:
        import_source(given, out, rules, **more)
    assert caught.value.where
    left = [p.name for p in out.parent.iterdir() if p.name == out.name or p.name.startswith(".tmp")]
    assert left == []
    return str(caught.value)


def with_coco(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Two images and a COCO file that was changed."""
    for seed, name in enumerate("ab"):
        image(folder / f"{name}.png", seed)
    path = written.coco(folder / "labels.json", "a.png", "b.png")
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return folder


def _first(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["annotations"][0].update(values)


def _drop_labels_of_b(document: dict[str, Any]) -> None:
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] == 1]


def _rename(document: dict[str, Any]) -> None:
    document["images"][1]["file_name"] = "gone.png"


def _resize(document: dict[str, Any]) -> None:
    document["images"][1]["width"] += 1


def _same_image(document: dict[str, Any]) -> None:
    document["images"][1]["id"] = 1


def _no_masks(document: dict[str, Any]) -> None:
    for annotation in document["annotations"]:
        del annotation["segmentation"]


COCO_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "missing image": (_rename, r"labels of a missing image: gone\.png \(labels\.json\).*--images"),
    "no labels": (_drop_labels_of_b, r"image without labels: b\.png.*--without-labels leave-out"),
    "other size": (_resize, r"another size than the image: b\.png \(24 x 33, the image is 24 x 32"),
    "outside": (
        _first(segmentation=[[-9, 2, 9, 2, 9, 9, -9, 9]]),
        r"[Pp]olygon out of bounds: annotation 10 of a\.png: labels\.json",
    ),
    "far outside": (_first(segmentation=[[1, 1, 9e6, 1, 5, 5]]), "far outside"),
    "two points": (_first(segmentation=[[1, 1, 5, 5]]), "fewer than 3 points: annotation 10"),
    "nan": (
        _first(segmentation=[[1, 1, float("nan"), 5, 6, 7]]),
        r"annotations\[0\].*finite number.*labels\.json",
    ),
    "empty": (_first(segmentation=[[]]), r"Empty polygon.*--repair"),
    "same annotation id": (_first(id=11), r"[Dd]uplicate annotation id: 11 \(a\.png\)"),
    "same image id": (_same_image, r"[Dd]uplicate image id: 1"),
    "unknown category": (_first(category_id=7), r"unknown category: 10 of a\.png \(category 7\)"),
    "unknown image": (_first(image_id=99), r"unknown image: 10 \(image 99\)"),
    "crowd": (_first(iscrowd=1), r"[Cc]rowd region"),
    "boxes only": (_no_masks, r"box, which is no mask: 6 of 6 in labels\.json.*--boxes ellipse"),
    "a box among masks": (_first(segmentation=[]), r"box, which is no mask: 1 of 6"),
}


@pytest.mark.parametrize("kind", COCO_FAULTS)
def test_a_fault_of_a_coco_file_is_named_and_nothing_is_imported(tmp_path: Path, kind: str) -> None:
    change, reason = COCO_FAULTS[kind]
    refused(with_coco(tmp_path / "in", change), tmp_path / "out", reason)


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    folder = with_coco(tmp_path / "in", _rename)
    (folder / "a.png").write_bytes(b"no picture")
    said = refused(folder, tmp_path / "out", "3 faults")
    for part in ("gone.png", "b.png", "a.png", "PNG, JPEG or BMP"):
        assert part in said


def test_what_the_user_decides_is_done_and_counted(tmp_path: Path) -> None:
    folder = with_coco(tmp_path / "in", _drop_labels_of_b)
    report = import_source(folder, tmp_path / "less", Rules(unlabelled="leave-out"))
    assert report.left_out == {"image without labels": ["b.png"]}
    assert loaded(tmp_path / "less").names == ("a.png",)
    report = import_source(folder, tmp_path / "empty", Rules(unlabelled="empty"))
    assert [len(item.instances) for item in loaded(tmp_path / "empty")] == [3, 0]
    assert report.empty == 1

    outside = with_coco(tmp_path / "in2", _first(segmentation=[[-9, 2, 9, 2, 9, 9, -9, 9]]))
    report = import_source(outside, tmp_path / "cut", Rules(repair=True))
    assert report.repaired == {"repaired while reading: 1 x polygon out of bounds": ["labels.json"]}
    assert loaded(tmp_path / "cut")[0].instances.boxes[0].tolist() == [2, 0, 9, 9]


def test_boxes_become_ellipses_that_are_marked_or_are_left_out(tmp_path: Path) -> None:
    folder = with_coco(tmp_path / "in", _first(segmentation=[]))
    report = import_source(folder, tmp_path / "out", Rules(boxes="ellipse"))
    found = loaded(tmp_path / "out")[0].instances
    assert sorted(found.sources) == ["", "", "box"]
    box = found.select([found.sources.index("box")])
    assert box.boxes.tolist() == [list(BOXES[0])]
    assert box.areas[0] == pytest.approx(np.pi / 4 * 72, rel=0.08)
    assert any("1 masks are ellipses in boxes" in note for note in report.notes)
    import_source(folder, tmp_path / "less", Rules(boxes="leave-out"))
    assert len(loaded(tmp_path / "less")[0].instances) == 2


# -- one file an image --------------------------------------------------------------------------


def test_images_and_labels_that_do_not_meet(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a.png")
    image(tmp_path / "in" / "c.png", 1)
    written.label_image(tmp_path / "in" / "a_mask.png")
    written.label_image(tmp_path / "in" / "b_mask.png")
    said = refused(tmp_path / "in", tmp_path / "out", r"missing image: b_mask\.png")
    assert "image without labels: c.png" in said


def test_a_label_image_of_another_size(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a.png", size=(24, 30))
    written.label_image(tmp_path / "in" / "a_mask.png")
    refused(
        tmp_path / "in", tmp_path / "out", r"a\.png \(24 x 32, the image is 24 x 30\).*not scaled"
    )


@pytest.mark.parametrize(
    ("points", "kind", "reason"),
    [
        ([[1, 1], [5, 5]], "polygon", r"fewer than 3 points: a\.png \(shape 1\)"),
        ([[1, 1], [5, float("nan")], [7, 1]], "polygon", r"not numbers: a\.png \(shape 1\)"),
        ([[-9, 1], [5, 5], [7, 1]], "polygon", r"reaches out of the image: a\.png \(shape 1\)"),
        ([[1.1, 1.1], [1.2, 1.1], [1.2, 1.2]], "polygon", r"covers no pixel: a\.png \(shape 1\)"),
        ([[1, 1], [9, 9]], "rectangle", r"box, which is no mask: a\.png \(shape 1\)"),
    ],
)
def test_a_fault_of_one_drawing_is_named(
    tmp_path: Path, points: Any, kind: str, reason: str
) -> None:
    image(tmp_path / "in" / "a.png")
    shape = {"label": "organoid", "points": points, "shape_type": kind}
    written.labelme(tmp_path / "in" / "a.json", "a.png", [shape])
    refused(tmp_path / "in", tmp_path / "out", reason)


def test_repair_cuts_and_leaves_out_and_counts_but_believes_no_nonsense(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a.png")
    shapes = [
        {"label": "o", "points": points, "shape_type": "polygon"}
        for points in (
            [[-9, 1], [5, 1], [5, 9], [-9, 9]],
            [[1, 1], [5, 5]],
            [[9, 9], [15, 9], [15, 15]],
        )
    ]
    written.labelme(tmp_path / "in" / "a.json", "a.png", shapes)
    report = import_source(tmp_path / "in", tmp_path / "out", Rules(repair=True))
    assert [len(who) for who in report.repaired.values()] == [1, 1]
    assert len(loaded(tmp_path / "out")[0].instances) == 2
    shapes[0]["points"][0][0] = float("inf")
    written.labelme(tmp_path / "in" / "a.json", "a.png", shapes)
    refused(tmp_path / "in", tmp_path / "out2", "not numbers", Rules(repair=True))


def test_two_files_of_labels_for_one_image(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a.png")
    write_rois(tmp_path / "in" / "a.zip", written.organoids())
    write_rois(tmp_path / "in" / "RoiSet_a.zip", written.organoids())
    refused(tmp_path / "in", tmp_path / "out", r"two files of labels for one image: RoiSet_a\.zip")


def test_a_name_that_several_images_have(tmp_path: Path) -> None:
    for seed, plate in enumerate(("p1", "p2")):
        image(tmp_path / "in" / plate / "A01.png", seed)
    written.labelme(tmp_path / "in" / "json" / "A01.json", "A01.png")
    refused(tmp_path / "in", tmp_path / "out", r"several files have: A01\.png: 2 images")


def test_labels_never_go_to_an_image_of_another_side(tmp_path: Path) -> None:
    image(tmp_path / "in" / "val" / "A01.png")
    written.labelme(tmp_path / "in" / "train" / "A01.json", "A01.png")
    refused(tmp_path / "in", tmp_path / "out", r"missing image: A01\.png \(train/A01\.json\)")
    image(tmp_path / "in2" / "val" / "A01.png")
    written.coco(tmp_path / "in2" / "labels.json", "train/A01.png")
    refused(tmp_path / "in2", tmp_path / "out", r"missing image: train/A01\.png")
    image(tmp_path / "in3" / "val" / "A01.png")
    write_rois_beside(tmp_path / "in3" / "train" / "A01.zip")
    refused(tmp_path / "in3", tmp_path / "out", r"missing image: train/A01\.zip")


def write_rois_beside(path: Path) -> None:
    path.parent.mkdir(parents=True)
    write_rois(path, written.organoids())


def test_labels_go_to_the_image_of_their_own_plate(tmp_path: Path) -> None:
    for seed, plate in enumerate(("p1", "p2")):
        image(tmp_path / "in" / "images" / plate / "A01.png", seed)
        write_rois_beside(tmp_path / "in" / "rois" / plate / "A01.zip")
    report = import_source(tmp_path / "in", tmp_path / "out")
    assert {name: list(r.labels) for name, r in report.images.items()} == {
        f"images/{plate}/A01.png": [f"rois/{plate}/A01.zip"] for plate in ("p1", "p2")
    }
    assert not any("name alone" in note for note in report.notes)


def test_an_image_that_was_found_by_its_name_alone_is_said(tmp_path: Path) -> None:
    image(tmp_path / "in" / "images" / "A01.png")
    written.labelme(tmp_path / "in" / "A01.json", "C:\\Users\\me\\plate7\\A01.png")
    report = import_source(tmp_path / "in", tmp_path / "out")
    assert any("name alone" in note and "images/A01.png" in note for note in report.notes)


def test_label_images_of_one_number_are_doubted(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        image(tmp_path / "in" / f"{name}.png", seed)
        one = np.zeros(SIZE, np.uint8)
        one[2:9, 2:9] = 255
        written.label_image(tmp_path / "in" / f"{name}_mask.png", one)
    report = import_source(tmp_path / "in", tmp_path / "out")
    assert any("one number only" in note for note in report.notes)


def test_numbers_of_classes_are_doubted(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a.png")
    classes = np.zeros(SIZE, np.uint8)
    classes[2:6, 2:6] = classes[10:15, 10:15] = 1
    classes[18:22, 20:26] = 2
    written.label_image(tmp_path / "in" / "a_mask.png", classes)
    report = import_source(tmp_path / "in", tmp_path / "out")
    assert any("1 organoids of label images lie in separate pieces" in n for n in report.notes)


def test_a_damaged_file_of_labels_is_never_passed_over(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        image(tmp_path / "json" / f"{name}.png", seed)
        image(tmp_path / "rois" / f"{name}.png", seed)
    written.labelme(tmp_path / "json" / "a.json", "a.png")
    (tmp_path / "json" / "b.json").write_text('{"shapes": [')
    (tmp_path / "json" / "settings.json").write_text("{}")
    leave = Rules(unlabelled="leave-out")
    refused(tmp_path / "json", tmp_path / "out", r"Not valid JSON.*: b\.json", leave)
    write_rois(tmp_path / "rois" / "a.zip", written.organoids())
    (tmp_path / "rois" / "b.zip").write_bytes(b"PK and no more")
    refused(tmp_path / "rois", tmp_path / "out", r"archive is damaged.*: b\.png", leave)
    (tmp_path / "json" / "b.json").unlink()
    rules = Rules(unlabelled="leave-out", skip_classes=("debriss",))
    report = import_source(tmp_path / "json", tmp_path / "out", rules)
    assert any("no labels: settings.json" in note for note in report.notes)
    assert any("nothing is called debriss" in note for note in report.notes)


def test_a_lonely_damaged_file_is_named(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "labels.json").write_text('{"images": [')
    refused(tmp_path / "in", tmp_path / "out", r"No labels.*labels\.json: Not valid JSON")


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        image(tmp_path / "in" / f"{name}.png", seed)
        written.label_image(tmp_path / "in" / f"{name}_mask.png")
    whole = (tmp_path / "in" / "b.png").read_bytes()
    (tmp_path / "in" / "b.png").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "in", tmp_path / "out", r"1 fault: Cannot be read as PNG.*b\.png")


# -- hostile files ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a/../../b.png"])
def test_an_archive_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "deep").mkdir()
    with zipfile.ZipFile(tmp_path / "deep" / "in.zip", "w") as bundle:
        bundle.writestr(name, b"x")
    refused(tmp_path / "deep" / "in.zip", tmp_path / "deep" / "out", "leads out of the folder")
    assert [p.name for p in tmp_path.iterdir()] == ["deep"]


def test_an_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as bundle:
        member = zipfile.ZipInfo("a.png")
        member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        bundle.writestr(member, "/etc/passwd")
    refused(tmp_path / "in.zip", tmp_path / "out", "is a link")


def test_a_pickle_that_wants_to_run_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a.png")
    cellpose_file(tmp_path / "in" / "a_seg.npy", note=Bomb(tmp_path / "ran"))
    refused(tmp_path / "in", tmp_path / "out", r"refused: it asks for \w+\.mkdir.*a\.png")
    assert not (tmp_path / "ran").exists()


def test_entities_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a.png")
    text = '<!DOCTYPE x [<!ENTITY a "aaaa">]><annotations>&a;</annotations>'
    (tmp_path / "in" / "annotations.xml").write_text(text)
    refused(tmp_path / "in", tmp_path / "out", r"document type.*annotations\.xml")


# -- use ----------------------------------------------------------------------------------------


def test_what_cannot_be_told_is_asked(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    image(folder / "a.png")
    refused(folder, tmp_path / "out", "No labels were found")
    refused(tmp_path / "absent", tmp_path / "out", "no such file or folder")
    written.labelme(folder / "a.json", "a.png")
    written.cellpose(folder / "a_seg.npy")
    with pytest.raises(UsageError, match=r"several formats: labelme \(a\.json\), cellpose"):
        import_source(folder, tmp_path / "out")
    assert import_source(folder, tmp_path / "out", form="cellpose").importer == "cellpose"
    with pytest.raises(UsageError, match="no format 'yolo'"):
        import_source(folder, tmp_path / "out2", form="yolo")
    refused(folder, tmp_path / "out2", "no files of COCO", form="coco")
    (tmp_path / "x.tar.gz").write_bytes(b"")
    refused(tmp_path / "x.tar.gz", tmp_path / "out2", "Only zip")
    with pytest.raises(UsageError, match="leave nothing to train on"):
        Rules(validation=0.6, test=0.4)


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    folder = with_coco(tmp_path / "in", lambda document: None)
    with pytest.raises(RunError, match="Cannot write into the folder"):
        import_source(folder, tmp_path / "file" / "out")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(opening, "unpack", full)
    path = written.zipped(folder, tmp_path / "in.zip")
    with pytest.raises(RunError, match="No space left"):
        import_source(path, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "in", "in.zip"]


def test_a_disk_that_fails_in_the_middle_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_coco(tmp_path / "in", lambda document: None)
    copy = bring_in._copy

    def full(source: Path, target: Path) -> str:
        if source.name == "b.png":
            raise OSError(28, "No space left on device", str(target))
        return copy(source, target)

    monkeypatch.setattr(bring_in, "_copy", full)
    with pytest.raises(RunError, match="No space left"):
        import_source(folder, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
