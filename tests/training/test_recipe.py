"""Recipes: every word is understood or refused, with its place."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from organoseg.cli.main import main
from organoseg.core import UsageError
from organoseg.training.methods import Guided
from organoseg.training.recipe import dump_recipe, load_recipe, parse_recipe
from tests.training.tiny import recipe, write_recipe


def change(tree: dict[str, Any], place: str, value: Any) -> None:
    *path, last = place.split(".")
    for part in path:
        tree = tree[part]
    tree[last] = value


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("training.step", 100, "training.step: unknown key"),
        ("metod", {}, "metod: unknown key"),
        ("data.labelled.label", "x", "data.labelled.label: unknown key"),
        ("method.burnin", 0.5, "method.guided.burnin: unknown key"),
        ("training.steps", 0, "training.steps: .*greater than or equal to 1 .got 0."),
        ("training.batch", -1, "training.batch: "),
        ("training.batch", 1.5, "training.batch: "),
        ("training.learning_rate", float("nan"), "training.learning_rate: "),
        ("training.learning_rate", float("inf"), "training.learning_rate: "),
        ("training.learning_rate", "fast", "training.learning_rate: "),
        ("training.precision", "fp8", "training.precision: "),
        ("training.device", "gpu", "training.device: "),
        ("training.augmentation", {"crop": 100}, "training.augmentation.crop: .*multiple of 32"),
        ("training.augmentation", {"scale": [2, 1]}, "training.augmentation: .*smaller first"),
        ("method.name", "magic", "method: .*'supervised', 'guided'"),
        ("method.preset", "papre", "method.guided.preset: .*'paper' or 'organoid'"),
        ("method.burn_in", 0.9, "method.guided: burn_in and refine together are more than"),
        ("method.ignore", 0.9, "method.guided: ignore must not be above accept"),
        ("data.unlabelled", None, "method guided needs data.unlabelled"),
        ("data.labelled.names", "image_1.png", "data.labelled.names: "),
        ("version", 2, "version: "),
    ],
)
def test_a_fault_is_named_with_its_place(data: Path, place: str, value: Any, words: str) -> None:
    tree = recipe(data)
    change(tree, place, value)
    with pytest.raises(UsageError, match=words) as caught:
        parse_recipe(tree)
    assert caught.value.exit_code == 2
    assert caught.value.remedy is not None


def test_names_and_split_exclude_each_other(data: Path) -> None:
    tree = recipe(data)
    tree["data"]["labelled"] |= {"names": ["image_1.png"], "split": "a.json#b"}
    with pytest.raises(UsageError, match=r"data\.labelled: give either names or split"):
        parse_recipe(tree)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("training.steps", "cannot read 'training.steps'.*section.key=value"),
        ("=3", "cannot read '=3'"),
        ("training.steps=[", r"cannot read the value '\['"),
        ("training.steps.more=3", "'steps' is no section"),
        ("training.stepz=3", "training.stepz: unknown key"),
        ("trainning.steps=3", "trainning: unknown key"),
        ("training.steps=many", "training.steps: .*got 'many'"),
    ],
)
def test_an_assignment_that_cannot_be_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], assignment: str, words: str
) -> None:
    path = write_recipe(tmp_path / "r.yaml", recipe(data))
    with pytest.raises(UsageError, match=words):
        load_recipe(path, [assignment])
    assert main(["train", str(path), "--out", str(tmp_path / "run"), "--set", assignment]) == 2
    assert "what to do" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("assignment", "place", "value"),
    [
        ("training.steps=7", ("training", "steps"), 7),
        ("training.learning_rate=5e-4", ("training", "learning_rate"), 5e-4),
        ("model.encoder_weights=null", ("model", "encoder_weights"), None),
        ("data.labelled.names=[a.png, b.png]", ("data", "labelled", "names"), ("a.png", "b.png")),
        ("seed=3", ("seed",), 3),
    ],
)
def test_an_assignment_changes_one_value(
    data: Path, tmp_path: Path, assignment: str, place: tuple[str, ...], value: Any
) -> None:
    chosen: Any = load_recipe(write_recipe(tmp_path / "r.yaml", recipe(data)), [assignment])
    for part in place:
        chosen = getattr(chosen, part)
    assert chosen == value


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "42"])
def test_a_file_without_sections_is_no_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"mapping of sections.*r\.yaml.*configs/"):
        load_recipe(path, ["training.steps=3"])


@pytest.mark.parametrize(
    "content", [b"a: [1, 2", b"\xff\xfe\x00", b"a: !!python/object:os.system x"]
)
def test_a_file_that_is_no_yaml_is_refused_and_nothing_in_it_runs(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"(?s)not YAML.*r\.yaml"):
        load_recipe(path)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such recipe.*r\.yaml"):
        load_recipe(tmp_path / "r.yaml")


def test_relative_paths_start_from_the_recipe_and_the_copy_stays_true(
    data: Path, tmp_path: Path
) -> None:
    tree = recipe(data)
    tree["data"] = {
        "labelled": {"annotations": "l.json", "images": ".", "split": "s.json#few"},
        "unlabelled": "a.zarr",
    }
    tree["model"]["encoder_weights"] = "w.npz"
    tree["method"]["teacher"] = "t/model"
    (tmp_path / "w.npz").touch()
    chosen = load_recipe(write_recipe(tmp_path / "r.yaml", tree))
    assert chosen.data.labelled.annotations == tmp_path / "l.json"
    assert chosen.data.labelled.split == f"{tmp_path}/s.json#few"
    assert chosen.data.unlabelled == tmp_path / "a.zarr"
    assert chosen.model.encoder_weights == str(tmp_path / "w.npz")
    assert isinstance(chosen.method, Guided)
    assert chosen.method.teacher == tmp_path / "t" / "model"
    assert parse_recipe(yaml.safe_load(dump_recipe(chosen))) == chosen


def test_a_published_name_is_no_path(data: Path, tmp_path: Path) -> None:
    tree = recipe(data, model={"encoder_weights": "mobilenet_v2_imagenet"})
    chosen = load_recipe(write_recipe(tmp_path / "r.yaml", tree))
    assert chosen.model.encoder_weights == "mobilenet_v2_imagenet"


def test_a_compact_network_begins_as_the_starter_model_unless_the_recipe_says(data: Path) -> None:
    def begins(**model: Any) -> tuple[str | None, str | None]:
        chosen = parse_recipe({**recipe(data), "model": model})
        assert parse_recipe(chosen.model_dump(mode="json")) == chosen
        return chosen.model.options.get("start"), chosen.model.encoder_weights

    photographs = "mobilenet_v2_imagenet"
    assert begins() == ("starter", None)
    assert begins(options={"max_instances": 50}) == ("starter", None)
    assert begins(encoder_weights=photographs) == (None, photographs)
    assert begins(encoder_weights=None) == (None, None)
    assert begins(options={"start": None}) == (None, photographs)
    assert begins(options={"start": "runs/last_year/model"}) == ("runs/last_year/model", None)
    # The starter model's weights are of one width and of one padding.
    assert begins(options={"width": 32}) == (None, photographs)
    assert begins(engine="mask2former") == (None, photographs)


def test_the_pool_grows_with_the_steps_unless_the_recipe_says(data: Path) -> None:
    def pool(steps: int, **method: Any) -> int:
        tree = recipe(data)
        tree["method"] = {"name": "guided", **method}
        tree["training"]["steps"] = steps
        chosen = parse_recipe(tree)
        assert parse_recipe(chosen.model_dump(mode="json")) == chosen
        return chosen.method.pool  # type: ignore[union-attr]

    assert pool(900) == 150
    assert pool(3) == 1
    assert pool(900, pool=7) == 7
    assert pool(900, preset="paper") == 0
