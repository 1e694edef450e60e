"""The whole road with this engine: train, distil, be killed, go on, save, load, predict, evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.kill_resume import differences, killed, run
from organoseg.cli.main import main
from organoseg.core import DataError
from organoseg.models.folder import load_module
from organoseg.training.progress import silent
from organoseg.training.run import train
from tests.models.detectron2.networks import small
from tests.training.tiny import VALIDATION, recipe, write_data, write_recipe

pytestmark = pytest.mark.detectron2
OPTIONS = {
    "architecture": "mask_rcnn_R_18_FPN",
    "width": 32,
    "box_width": 64,
    "anchors_sampled": 32,
    "regions_sampled": 32,
}


def tiny(data: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """All four stages of guided distillation in 12 steps."""
    model = {"engine": "detectron2", "encoder_weights": None, "options": OPTIONS}
    tree = recipe(data, model=model, **sections)
    tree["training"] |= {"steps": 8, "checkpoint_every": 3}
    tree["method"] |= {"pool": 2, "pool_zooms": [1.0]}
    return tree


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe and the folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    path = write_recipe(folder / "recipe.yaml", tiny(data))
    assert run(path, folder / "run", None)
    return path, folder / "run"


def test_killed_and_resumed_the_weights_have_the_same_bits(
    whole: tuple[Path, Path], tmp_path: Path
) -> None:
    path, undisturbed = whole
    killed(path, tmp_path / "run", [5, 10])
    assert differences(undisturbed, tmp_path / "run") == []


def test_the_model_folder_holds_what_was_chosen_from_the_data(whole: tuple[Path, Path]) -> None:
    module, description = load_module(whole[1] / "model")
    options = description.options
    # Organoids of 16 to 40 px, zoomed by .75 to 1.5.
    assert 8 <= options["anchors"][0] <= 16
    assert options["max_instances"] == 100
    assert None not in (options["norm"], options["proposals"], options["pixel_std"])
    assert module.layout[0] == tuple(options["anchors"])


def test_what_was_trained_predicts_and_is_evaluated(
    whole: tuple[Path, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = whole[1] / "model", tmp_path / "found"
    images = [str(data / "images" / f"image_{n}.png") for n in VALIDATION]
    assert main(["predict", *images, "--model", str(model), "--out", str(out)]) == 0
    command = ["evaluate", "--predictions", str(out / "instances.json"), "--ground-truth"]
    capsys.readouterr()
    assert main([*command, str(data / "validation.json"), "--json", "--bootstrap", "0"]) == 0
    assert "AP" in json.loads(capsys.readouterr().out)


def test_the_papers_preset_runs_on_it(data: Path, tmp_path: Path) -> None:
    method = {"name": "guided", "preset": "paper", "teacher_steps": 2, "burn_in": 0.5}
    tree = tiny(data)
    tree["method"] = method
    tree["training"] |= {"steps": 3}
    result = train(write_recipe(tmp_path / "r.yaml", tree), tmp_path / "run", reporter=silent)
    assert (result.model / "weights.safetensors").is_file()


def test_a_teacher_with_other_anchors_is_refused(
    whole: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    tree = tiny(data)
    tree["method"]["teacher"] = str(whole[1] / "model")
    tree["model"]["options"] = {**OPTIONS, "anchors": [20, 30, 40, 80, 160]}
    path = write_recipe(tmp_path / "r.yaml", tree)
    with pytest.raises(DataError, match="the teacher has another engine or other options"):
        train(path, tmp_path / "run", reporter=silent)


@pytest.mark.parametrize("architecture", ["mask_rcnn_mobilenet_v2_FPN", "mask_rcnn_R_18_FPN"])
def test_a_few_steps_lower_the_loss(
    architecture: str, labelled: tuple[torch.Tensor, Any], targets: Any
) -> None:
    engine = small(architecture, regions_sampled=64, anchors_sampled=64).train()
    optimiser = torch.optim.AdamW(engine.parameter_groups(2e-3, 0.01))
    totals = []
    for _ in range(14):
        loss = torch.stack(list(engine.losses(labelled[0], targets).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        totals.append(float(loss.detach()))
    assert sum(totals[-2:]) < 0.9 * sum(totals[:2])


def test_one_kind_of_parameter_a_group_and_every_parameter_once() -> None:
    engine = small()
    groups = engine.parameter_groups(1e-3, 0.05)
    chosen = [p for g in groups for p in g["params"]]
    assert len({id(p) for p in chosen}) == len(chosen)
    assert {id(p) for p in engine.parameters() if p.requires_grad} == {id(p) for p in chosen}
    assert all(g["weight_decay"] == 0 for g in groups if g["params"][0].ndim == 1)


def test_two_processes_give_the_losses_of_one_with_the_doubled_batch(
    labelled: tuple[torch.Tensor, Any], targets: Any
) -> None:
    """Where nothing is drawn at random: every region and anchor counts."""
    pixels = labelled[0]
    engine = small(regions_sampled=100_000, anchors_sampled=100_000, norm="GN").train()
    heads = engine.network.roi_heads
    heads.positive_fraction = engine.network.proposal_generator.positive_fraction = 1.0
    both = {k: float(v.detach()) for k, v in engine.losses(pixels, targets).items()}
    counts: list[list[float]] = []

    def parts() -> list[dict[str, float]]:
        found = []
        for k in (0, 1):
            counts.append([])
            one = engine.losses(pixels[k : k + 1], targets[k : k + 1])
            found.append({n: float(v.detach()) for n, v in one.items()})
        return found

    def listen(count: torch.Tensor) -> torch.Tensor:
        counts[-1].append(float(count))
        return count

    engine.normaliser = listen
    parts()
    means = [sum(pair) / 2 for pair in zip(*counts, strict=True)]
    order = iter(means + means)
    engine.normaliser = lambda count: count.new_tensor(next(order))
    first, second = parts()
    for name, value in both.items():
        assert (first[name] + second[name]) / 2 == pytest.approx(value, rel=1e-4), name
