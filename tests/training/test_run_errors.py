"""What goes wrong before or during a run: named, with a remedy, and nothing half-written that blocks the next start."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import save_file
from torch import Tensor

from organoseg.cli.main import main
from organoseg.core import DataError, RunError
from organoseg.models.compact.encoder import MobileNetV2
from organoseg.models.folder import load_module, save_model
from organoseg.models.registry import build_engine
from organoseg.training import checkpoint as files
from organoseg.training.progress import silent
from organoseg.training.recipe import dump_recipe, load_recipe, parse_recipe
from organoseg.training.run import train
from tests.training.fake_engine import BUILT
from tests.training.tiny import recipe, write_recipe

Tree = dict[str, Any]


class Case:
    """A recipe beside its own copy of the data, to be spoilt."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.folder, self.data = folder, shutil.copytree(data, folder / "data")
        self.tree = recipe(self.data)

    def encoder(self, spoil: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
        tensors = MobileNetV2("symmetric", 0).state_dict()
        tensors = {k.replace(".layers.", "."): v for k, v in tensors.items()}
        save_file(spoil(tensors), self.folder / "w.safetensors")
        self.tree["model"]["encoder_weights"] = str(self.folder / "w.safetensors")

    def labels(self, change: Callable[[Tree], None]) -> None:
        path = self.data / "labelled.json"
        tree = json.loads(path.read_text())
        change(tree)
        path.write_text(json.dumps(tree))


def unknown_engine(case: Case) -> None:
    case.tree["model"]["engine"] = "yolo"


def unknown_option(case: Case) -> None:
    case.tree["model"]["options"] = {"depth": 3}


def unknown_weights(case: Case) -> None:
    case.tree["model"]["encoder_weights"] = "imagenet"


def weights_of_another_network(case: Case) -> None:
    case.encoder(lambda t: {k: v for k, v in t.items() if k != "blocks.2.0.bias"})


def weights_with_nan(case: Case) -> None:
    case.encoder(lambda t: {**t, "stem.bias": torch.full((32,), torch.nan)})


def truncated_weights(case: Case) -> None:
    case.encoder(lambda t: t)
    path = case.folder / "w.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def no_labels_file(case: Case) -> None:
    (case.data / "labelled.json").unlink()


def no_images_folder(case: Case) -> None:
    case.tree["data"]["labelled"]["images"] = str(case.folder / "none")


def empty_labelled_set(case: Case) -> None:
    case.labels(lambda t: t.update(images=[], annotations=[]))


def no_names_chosen(case: Case) -> None:
    case.tree["data"]["labelled"]["names"] = []


def no_organoid(case: Case) -> None:
    case.labels(lambda t: t["annotations"].clear())


def image_of_another_size(case: Case) -> None:
    shutil.copy(case.data / "images" / "image_1.png", case.data / "images" / "whole.png")
    from PIL import Image as Pillow

    path = case.data / "images" / "image_1.png"
    Pillow.open(path).crop((0, 0, 80, 96)).save(path)


def nan_in_a_labelled_image(case: Case) -> None:
    pixels = np.zeros((96, 96), np.float32)
    pixels[3, 4] = np.nan
    tifffile.imwrite(case.data / "images" / "nan.tif", pixels)
    case.labels(lambda t: t["images"][0].update(file_name="nan.tif"))


def no_archive(case: Case) -> None:
    case.tree["data"]["unlabelled"] = str(case.folder / "none.zarr")


def empty_archive(case: Case) -> None:
    shutil.rmtree(case.data / "archive")
    (case.data / "archive").mkdir()


def archive_of_validation_images(case: Case) -> None:
    shutil.rmtree(case.data / "archive")
    (case.data / "archive").mkdir()
    for n in (3, 4):
        shutil.copy(case.data / "images" / f"image_{n}.png", case.data / "archive")


def nothing_preferred(case: Case) -> None:
    case.tree["data"]["prefer"] = ["Subset_9"]


def validated_on_what_is_trained_on(case: Case) -> None:
    # Under another name, which changes nothing about the pixels.
    shutil.copy(case.data / "images" / "image_1.png", case.data / "images" / "image_3.png")


def no_split(case: Case) -> None:
    case.tree["data"]["labelled"]["split"] = "splits.json"


def no_such_split(case: Case) -> None:
    (case.data / "splits.json").write_text('{"labelled_5": ["image_1.png"]}')
    case.tree["data"]["labelled"]["split"] = f"{case.data}/splits.json#labelled_6"


def no_teacher(case: Case) -> None:
    case.tree["method"]["teacher"] = str(case.folder)


def teacher_of_another_kind(case: Case) -> None:
    engine = build_engine("compact", (1,), {"width": 32}, None)
    folder = case.folder / "teacher"
    save_model(folder, engine, "compact", engine.options, {1: "organoid"}, 0.3, {})  # type: ignore[arg-type]
    case.tree["method"]["teacher"] = str(folder)


def absent_device(case: Case) -> None:
    case.tree["training"]["device"] = "cuda:99"


FAULTS: list[tuple[Callable[[Case], None], int, str]] = [
    (unknown_engine, 2, "unknown engine 'yolo'"),
    (unknown_option, 2, "option depth"),
    (unknown_weights, 2, "no encoder weights named 'imagenet'"),
    (weights_of_another_network, 3, "blocks.2.layers.0.bias"),
    (weights_with_nan, 3, "stem.bias"),
    (truncated_weights, 3, "encoder weights cannot be read"),
    (no_labels_file, 3, "labelled.json"),
    (no_images_folder, 3, "none"),
    (empty_labelled_set, 3, "labelled set is empty"),
    (no_names_chosen, 3, "empty"),
    (no_organoid, 3, "no labelled image has an organoid"),
    (image_of_another_size, 3, "image_1.png"),
    (nan_in_a_labelled_image, 3, "nan.tif"),
    (no_archive, 3, "none.zarr"),
    (empty_archive, 3, "archive"),
    (archive_of_validation_images, 3, "Every image of the folder is also a labelled one"),
    (nothing_preferred, 3, "Subset_9"),
    (validated_on_what_is_trained_on, 3, "in both data.labelled and data.validation: image_1.png"),
    (no_split, 2, "FILE.json#KEY"),
    (no_such_split, 3, "labelled_6"),
    (no_teacher, 3, "no model here"),
    (teacher_of_another_kind, 3, "another engine or other options"),
    (absent_device, 2, "cuda:99"),
]


@pytest.mark.parametrize(("spoil", "code", "words"), FAULTS, ids=[f.__name__ for f, _, _ in FAULTS])
def test_a_start_that_cannot_be_says_why_and_leaves_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Case], None], code: int, words: str,
) -> None:  # fmt: skip
    case = Case(data, tmp_path)
    spoil(case)
    path = write_recipe(tmp_path / "r.yaml", case.tree)
    assert main(["train", str(path), "--out", str(tmp_path / "run"), "-q"]) == code
    said = capsys.readouterr().err
    assert words in said
    assert "what to do: " in said
    assert "unexpected error" not in said
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_place_of_the_run_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(tmp_path / "r.yaml", recipe(data))
    assert main(["train", str(path), "--out", str(path), "-q"]) == 2
    assert "a file, not a run folder" in capsys.readouterr().err


# -- while it runs ----------------------------------------------------------------------------------


def numbers(data: Path, **training: Any) -> Tree:
    """A recipe for the engine of two numbers: labels only, a checkpoint every second step."""
    tree = recipe(data, model={"engine": "fake", "options": {}}, training={"steps": 8, **training})
    tree["method"] = {"name": "supervised"}
    return tree


class Poison:
    """A reporter that makes the loss NaN from a step on."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, event: str, facts: Any) -> None:
        if event == ("start" if self.step == 0 else "step") and facts["step"] == self.step:
            BUILT[-1].scale = float("nan")


def test_a_loss_that_is_not_a_number_ends_the_run_and_the_last_checkpoint_loads(
    data: Path, tmp_path: Path, fake_engine: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, out = write_recipe(tmp_path / "r.yaml", numbers(data)), tmp_path / "run"
    monkeypatch.setattr("organoseg.training.progress.automatic", lambda: Poison(5))
    assert main(["train", str(path), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "the loss is nan" in said
    assert "learning_rate" in said
    saved = files.read(files.latest(out / "checkpoints"))
    assert saved.facts["facts"]["step"] == 4
    assert all(bool(torch.isfinite(t).all()) for k, t in saved.tensors.items() if "weight" in k)
    assert not (out / "model").exists()
    monkeypatch.setattr("organoseg.training.progress.automatic", lambda: silent)
    assert main(["train", str(path), "--out", str(out), "--resume"]) == 0
    module, _ = load_module(out / "model")
    assert all(bool(torch.isfinite(p).all()) for p in module.parameters())


@pytest.mark.parametrize("step", [0, 1])
def test_a_run_that_fails_before_its_first_checkpoint_does_not_block_the_next_start(
    data: Path, tmp_path: Path, fake_engine: None, step: int
) -> None:
    chosen, out = parse_recipe(numbers(data)), tmp_path / "run"
    with pytest.raises(RunError, match="the loss is nan"):
        train(chosen, out, reporter=Poison(step))
    assert not (out / "recipe.yaml").exists()
    assert step or not out.exists()
    train(chosen, out, reporter=silent)
    assert load_module(out / "model")


def test_files_that_were_there_before_a_failed_start_stay(
    data: Path, tmp_path: Path, fake_engine: None
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(RunError):
        train(parse_recipe(numbers(data)), out, reporter=Poison(0))
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "recipe.yaml").exists()


def test_a_run_killed_before_its_first_checkpoint_begins_again(
    data: Path, tmp_path: Path, fake_engine: None
) -> None:
    path, out = write_recipe(tmp_path / "r.yaml", numbers(data)), tmp_path / "run"
    out.mkdir()
    (out / "recipe.yaml").write_text(dump_recipe(load_recipe(path)), encoding="utf-8")
    (out / "checkpoints").mkdir()
    (out / "checkpoints" / ".tmp-0123").write_bytes(b"what a kill left")
    (out / "metrics.jsonl").write_text('{"step": 1, "kind": "train"}\n{"step": 2, "ki')
    train(path, out, resume=True, reporter=silent)
    train(path, tmp_path / "other", reporter=silent)
    ours, theirs = (
        (f / "model" / "weights.safetensors").read_bytes() for f in (out, tmp_path / "other")
    )
    assert ours == theirs
    assert not list(out.rglob(".tmp-*"))
    steps = [json.loads(x)["step"] for x in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps[0] > 1


def test_a_cancelled_run_goes_on(data: Path, tmp_path: Path, fake_engine: None) -> None:
    path, out = write_recipe(tmp_path / "r.yaml", numbers(data)), tmp_path / "run"

    def cancel(event: str, facts: Any) -> None:
        if event == "step" and facts["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(path, out, reporter=cancel)
    assert files.latest(out / "checkpoints").name == "step-00000004.safetensors"
    train(path, out, resume=True, reporter=silent)
    train(path, tmp_path / "other", reporter=silent)
    ours, theirs = (load_module(f / "model")[0].state_dict() for f in (out, tmp_path / "other"))
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_damaged_last_checkpoint_is_named(data: Path, tmp_path: Path, fake_engine: None) -> None:
    path, out = write_recipe(tmp_path / "r.yaml", numbers(data)), tmp_path / "run"
    train(path, out, reporter=silent)
    last = files.latest(out / "checkpoints")
    last.write_bytes(last.read_bytes()[:40])
    with pytest.raises(DataError, match=r"cannot be read.*older one") as caught:
        train(path, out, resume=True, reporter=silent)
    assert caught.value.where == str(last)


def test_settings_that_change_nothing_about_the_result_may_change_on_resume(
    data: Path, tmp_path: Path, fake_engine: None
) -> None:
    path, out = write_recipe(tmp_path / "r.yaml", numbers(data)), tmp_path / "run"
    train(path, out, reporter=silent)
    train(path, out, ["training.keep=1", "training.checkpoint_every=5"], True, silent)


@pytest.mark.parametrize("first", ["fp32", "bf16"])
def test_one_process_may_train_in_one_precision_after_the_other(
    data: Path, tmp_path: Path, fake_engine: None, first: str
) -> None:
    for precision in (first, "bf16", "fp32"):
        chosen = parse_recipe(numbers(data, precision=precision, steps=1))
        out = tmp_path / f"{precision}-{len(list(tmp_path.iterdir()))}"
        train(chosen, out, reporter=silent)
        expected = "bf16" if precision == "bf16" else "no"
        assert json.loads((out / "environment.json").read_text())["precision"] == expected


def test_an_archive_that_goes_away_is_named_and_the_run_goes_on_when_it_is_back(
    data: Path, tmp_path: Path, fake_engine: None
) -> None:
    case = Case(data, tmp_path)
    case.tree["model"] = {"engine": "fake", "options": {}}
    archive, away, out = case.data / "archive", tmp_path / "away", tmp_path / "run"

    def unplug(event: str, facts: Any) -> None:
        if event == "step" and facts["step"] == 3:
            archive.rename(away)

    with pytest.raises(DataError, match=r"archive/image_\d\.png"):
        train(parse_recipe(case.tree), out, reporter=unplug)
    assert files.latest(out / "checkpoints").name == "step-00000004.safetensors"
    away.rename(archive)
    train(parse_recipe(case.tree), out, resume=True, reporter=silent)
    assert load_module(out / "model")
