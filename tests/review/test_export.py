from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from organoseg.core import DataError, Image, Instances
from organoseg.dataset import LabelledImage, Split, load_coco
from organoseg.dataset.groups import by_pattern
from organoseg.io import write_instances
from organoseg.io.coco_json import parse_coco_instances
from organoseg.review import Project, ReviewSession, create_project, export_project
from organoseg.review.dataset_folder import deal
from tests.review.small import SIDE, hashes, make_images, make_predictions, make_project, square


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def finish(project: Project, count: int = 99) -> None:
    with ReviewSession.open(project, "anna") as session:
        for picture in project.pictures[:count]:
            session.go(picture.key)
            session.complete(accept_rest=True)


def test_a_complete_image_comes_back_as_it_was_reviewed_with_its_provenance(
    tmp_path: Path, project: Project
) -> None:
    with ReviewSession.open(project, "anna") as session:
        a, b, c, d = project.turn(session.place.image).organoids
        name = project.picture(session.place.image).name
        session.reject(a)
        moved = session.state().organoids[b].mask
        session.replace(square(moved.y, moved.x + 6), b)
        drawn = session.draw(square(50, 50, 8)).selected
        session.complete(accept_rest=True)
        kept = session.state().instances("accepted")
    report = export_project(project.folder, tmp_path / "D")
    assert report.added == [name]
    item = load_coco(tmp_path / "D" / "labels.json", tmp_path / "D" / "images")[0]
    assert item.ignored is None
    assert item.instances.to_rles() == kept.to_rles()
    stored = json.loads((tmp_path / "D" / "provenance.json").read_text())["images"][name]
    facts = {f["organoid"]: f for f in stored["organoids"]}
    assert set(facts) == {b, c, d, drawn}
    assert facts[c]["how"] == ["complete"]
    assert (facts[c]["iou_before"], facts[c]["edited"], facts[c]["source"]) == (
        1.0,
        False,
        "model:m@1",
    )
    assert facts[b]["edited"]
    assert facts[b]["iou_before"] == pytest.approx(1 / 3, abs=1e-3)
    assert (facts[drawn]["source"], facts[drawn]["reviewer"]) == ("human:anna", "anna")
    assert {f["annotation"] for f in facts.values()} == set(item.instances.ids.tolist())


def test_an_image_reviewed_in_part_is_ignored_where_nobody_looked(
    tmp_path: Path, project: Project
) -> None:
    with ReviewSession.open(project) as session:
        a, b, c, _ = project.turn(session.place.image).organoids
        session.accept(a)
        session.reject(b)
        masks = {n: session.state().organoids[n].mask for n in (a, b, c)}
    export_project(project.folder, tmp_path / "D")
    item = load_coco(tmp_path / "D" / "labels.json", tmp_path / "D" / "images")[0]
    assert len(item.instances) == 1
    assert item.ignored is not None
    unknown = item.ignored.to_dense().any(axis=0)

    def share(mask: object) -> float:
        y0, x0, y1, x1 = mask.box  # type: ignore[attr-defined]
        return float(unknown[y0:y1, x0:x1].mean())

    assert share(masks[a]) == 0
    assert share(masks[b]) == 0  # rejected: background is taught there
    assert share(masks[c]) == 1
    assert unknown[-1, -1]
    # a margin around what was accepted is background
    y0, x0, _, _ = masks[a].box
    assert not unknown[max(y0 - 2, 0), x0 + 3]


def test_exporting_twice_adds_nothing_and_touches_no_file(tmp_path: Path, project: Project) -> None:
    finish(project, 2)
    export_project(project.folder, tmp_path / "D")
    before = hashes(tmp_path / "D")
    report = export_project(project.folder, tmp_path / "D")
    assert (len(report.added), len(report.unchanged), report.changed) == (0, 2, False)
    assert hashes(tmp_path / "D") == before


def test_work_that_went_on_is_updated_and_work_taken_back_is_removed(
    tmp_path: Path, project: Project
) -> None:
    with ReviewSession.open(project) as session:
        session.accept()
        name = export_project(session, tmp_path / "D").added
        session.complete(accept_rest=True)
        assert export_project(session, tmp_path / "D").updated == name
        while session.undo():
            pass
        report = export_project(session, tmp_path / "D")
        assert report.removed == name
        while session.redo():
            pass
        assert export_project(session, tmp_path / "D").added == name


def test_the_same_picture_from_elsewhere_is_refused(tmp_path: Path, project: Project) -> None:
    finish(project)
    export_project(project.folder, tmp_path / "D")
    copies = tmp_path / "copies"
    copies.mkdir()
    for n, picture in enumerate(project.pictures):
        (copies / f"other{n}.tif").write_bytes(picture.path.read_bytes())
    again = create_project(tmp_path / "Q", [copies])
    finish(again)
    report = export_project(again.folder, tmp_path / "D")
    assert report.added == []
    assert all("already, as i" in why for _, why in report.refused)
    assert len(report.refused) == 3


def test_pictures_and_groups_of_the_test_set_are_refused(tmp_path: Path) -> None:
    make_images(tmp_path / "images", 3)
    make_images(tmp_path / "test", 1)  # the first picture again
    write_instances(tmp_path / "test.json", [("i0.tif", Instances.empty((SIDE, SIDE)))])
    project = create_project(tmp_path / "P", [tmp_path / "images"])
    finish(project)
    report = export_project(
        project.folder, tmp_path / "D", held_out=(tmp_path / "test.json", tmp_path / "test")
    )
    assert sorted(report.added) == ["i1.tif", "i2.tif"]
    assert report.refused == [("i0.tif", "it is a picture of the test set")]


def test_images_of_one_group_stay_on_one_side_and_new_ones_inherit_it(tmp_path: Path) -> None:
    make_images(tmp_path / "images", 12)
    predictions = make_predictions(tmp_path / "i.json", 12)
    project = create_project(
        tmp_path / "P", [tmp_path / "images"], predictions=predictions, group=by_pattern(r"i(\d)")
    )
    finish(project, 6)
    export_project(project.folder, tmp_path / "D", validation=0.4)
    first = Split.load(tmp_path / "D" / "split.json")
    finish_rest = ReviewSession.open(project)
    for picture in project.pictures[6:]:
        finish_rest.go(picture.key)
        finish_rest.complete(accept_rest=True)
    finish_rest.close()
    export_project(project.folder, tmp_path / "D", validation=0.4)
    split = Split.load(tmp_path / "D" / "split.json")
    assert split.sides.items() >= first.sides.items()
    assert {split.sides[n] for n in ("i1.tif", "i10.tif", "i11.tif")} in ({"train"}, {"validation"})
    assert {"train", "validation"} == set(split.sides.values())
    subsets = json.loads((tmp_path / "D" / "subsets.json").read_text())
    assert sorted(subsets["train"] + subsets["validation"]) == sorted(split.sides)


def test_validation_takes_only_complete_images(tmp_path: Path) -> None:
    make_images(tmp_path / "images", 6)
    predictions = make_predictions(tmp_path / "i.json", 6)
    project = create_project(
        tmp_path / "P", [tmp_path / "images"], predictions=predictions, group=by_pattern(r"(i\d)")
    )
    with ReviewSession.open(project) as session:
        for picture in project.pictures:
            session.go(picture.key)
            session.accept()
    report = export_project(project.folder, tmp_path / "D", validation=0.5)
    # What is reviewed in part could not measure, so its group trains, and nothing is lost.
    assert len(report.added) == 6
    assert not report.refused
    assert set(Split.load(tmp_path / "D" / "split.json").sides.values()) == {"train"}


# Groups arrive in any order, in any number of exports; every picture keeps its group.
@given(
    rounds=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=10), min_size=1, max_size=6),
    share=st.floats(0, 0.9),
)
def test_no_group_is_ever_on_both_sides(rounds: list[list[int]], share: float) -> None:
    split = Split({}, {})
    for n, arrived in enumerate(rounds):
        sides = deal(split, {f"g{g}": g % 3 > 0 for g in arrived}, share)
        names = {f"image {n} {k}": f"g{g}" for k, g in enumerate(arrived)}
        split = split.extended({name: sides[g] for name, g in names.items()}, names)
    by_group: dict[str, set[str]] = {}
    for name, side in split.sides.items():
        by_group.setdefault(split.groups[name], set()).add(side)
    assert all(len(sides) == 1 for sides in by_group.values())


def test_a_folder_of_something_else_is_refused(tmp_path: Path, project: Project) -> None:
    (tmp_path / "D").mkdir()
    (tmp_path / "D" / "thesis.docx").write_text("")
    finish(project, 1)
    with pytest.raises(DataError, match="something else"):
        export_project(project.folder, tmp_path / "D")
    assert [p.name for p in (tmp_path / "D").iterdir()] == ["thesis.docx"]


def test_a_data_set_made_by_hand_is_extended_and_its_pictures_are_known(
    tmp_path: Path, project: Project
) -> None:
    hand = tmp_path / "D" / "images"
    hand.mkdir(parents=True)
    twin = project.pictures[0]
    (hand / "mine.tif").write_bytes(twin.path.read_bytes())
    own = Instances.from_masks((SIDE, SIDE), [square(1, 1)])
    write_instances(tmp_path / "D" / "labels.json", [("mine.tif", own)])
    finish(project)
    report = export_project(project.folder, tmp_path / "D")
    assert [why for _, why in report.refused] == [
        "the data set has this picture already, as mine.tif"
    ]
    assert sorted(load_coco(tmp_path / "D" / "labels.json", hand).names) == sorted(
        ["mine.tif", *(p.name for p in project.pictures[1:])]
    )


def test_regions_to_ignore_survive_a_file_and_are_not_measured_against(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((SIDE, SIDE), np.uint8))
    organoids = Instances.from_masks((SIDE, SIDE), [square(1, 1)], ids=[1])
    region = Instances.from_masks((SIDE, SIDE), [square(30, 30, 30)], ids=[2])
    write_instances(tmp_path / "l.json", [("a.tif", organoids)], ignored={"a.tif": region})
    item = load_coco(tmp_path / "l.json", tmp_path)[0]
    assert item.instances.to_rles() == organoids.to_rles()
    assert item.ignored is not None
    assert item.ignored.to_rles() == region.to_rles()
    with pytest.raises(DataError, match="nobody looked at"):
        parse_coco_instances(tmp_path / "l.json")


def test_predictions_where_nobody_looked_are_not_judged() -> None:
    image = Image(np.zeros((SIDE, SIDE), np.uint8))
    region = Instances.from_masks((SIDE, SIDE), [square(30, 30, 30)])
    item = LabelledImage(image, Instances.empty((SIDE, SIDE)), region)
    predicted = Instances.from_masks(
        (SIDE, SIDE), [square(1, 1), square(35, 35), square(22, 40), square(26, 40)]
    )
    assert item.judged(predicted).ids.tolist() == [1, 3]
