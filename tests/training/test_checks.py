"""Labels and archives that nothing can be learnt from are refused with their reason, whatever the method."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from organoseg.core import DataError
from organoseg.dataset.synthetic import make_image
from organoseg.training.checks import check_teacher
from organoseg.training.data import load_data
from organoseg.training.recipe import parse_recipe
from tests.training.tiny import SPEC, recipe, save_png


def _edit(path: Path, change: Any) -> None:
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def _named(name: str, number: int = 2) -> Any:
    def add(tree: dict[str, Any]) -> None:
        tree["categories"].append({"id": number, "name": name})

    return add


def _dead(tree: dict[str, Any]) -> None:
    _named("dead")(tree)
    tree["annotations"][0]["category_id"] = 2


def load(data: Path, method: str = "guided") -> Any:
    return load_data(parse_recipe(recipe(data) | {"method": {"name": method}}))


@pytest.fixture
def mine(data: Path, tmp_path: Path) -> Path:
    return shutil.copytree(data, tmp_path / "data")


@pytest.mark.parametrize("method", ["supervised", "guided"])
def test_a_class_without_a_label_is_refused_by_its_name(mine: Path, method: str) -> None:
    _edit(mine / "labelled.json", _named("dead"))
    with pytest.raises(DataError, match=r"labelled as dead \(category 2\)") as caught:
        load(mine, method)
    assert caught.value.where == str(mine / "labelled.json")


def test_a_class_that_only_the_validation_images_have_is_refused(mine: Path) -> None:
    _edit(mine / "validation.json", _dead)
    with pytest.raises(DataError, match=r"classes that no label has: dead \(category 2\)"):
        load(mine)


def test_one_number_means_one_class_where_there_are_several(mine: Path) -> None:
    _edit(mine / "labelled.json", _dead)
    _edit(mine / "validation.json", _named("cystic"))
    with pytest.raises(DataError, match="'dead' in the labels and 'cystic' in the validation"):
        load(mine)


def test_the_only_class_may_be_called_as_one_likes(mine: Path) -> None:
    _edit(mine / "validation.json", lambda tree: tree["categories"][0].update(name="spheroid"))
    assert load(mine).validation is not None


def test_an_archive_of_labelled_images_alone_is_refused(mine: Path) -> None:
    shutil.rmtree(mine / "archive")
    (mine / "archive").mkdir()
    for n in range(2):  # under other names: pixels tell
        shutil.copy(mine / "images" / f"image_{n}.png", mine / "archive" / f"well_{n}.png")
    with pytest.raises(DataError, match="all 2 images of the archive are labelled") as caught:
        load(mine)
    assert "supervised" in caught.value.remedy
    save_png(make_image(77, SPEC, name="new.png"), mine / "archive")
    assert len(load(mine).unlabelled) == 3


def test_a_teacher_calls_the_same_classes_by_the_same_numbers(tmp_path: Path) -> None:
    ours = {1: "dense", 2: "cystic"}
    check_teacher(ours, ours, tmp_path)
    check_teacher({1: "Organoid"}, {1: "organoid"}, tmp_path)  # one class is one class
    with pytest.raises(DataError, match="1 cystic, 2 dense"):
        check_teacher({1: "cystic", 2: "dense"}, ours, tmp_path)
    with pytest.raises(DataError, match="1 dense apart"):
        check_teacher({1: "dense"}, ours, tmp_path)
