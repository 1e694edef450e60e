"""Class-agnostic warm-up: what each step learns from and how fast, who starts from whom; a killed run goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.kill_resume import differences
from organoseg.core import DataError, RunError, UsageError
from organoseg.dataset.synthetic import make_image
from organoseg.distill.branch import Branch
from organoseg.distill.descent import Descent
from organoseg.distill.schedule import Phase
from organoseg.io import read_instances, write_instances
from organoseg.models.agnostic import OneClass, predictor_parameters
from organoseg.models.folder import load_module, read_description, save_model
from organoseg.models.registry import build_engine
from organoseg.training import checkpoint as files
from organoseg.training import plan
from organoseg.training.loop import Loop
from organoseg.training.progress import silent
from organoseg.training.recipe import parse_recipe
from organoseg.training.run import train
from tests.training.tiny import SPEC, recipe, save_png

NAMES = {2: "sphere", 5: "cyst", 9: "bud"}
METHOD = {
    "name": "class_agnostic", "teacher_steps": 4, "warm_up": 0.5, "pool": 3, "pool_zooms": [1.0], "accept": 0.01,
    "ignore": 0.005, "trunk_share": 0.5, "unlabelled_batch": 1,
}  # fmt: skip


def write_set(numbers: Sequence[int], name: str, folder: Path) -> None:
    """Images whose organoids have their phenotype as class."""
    numbered = {f"synthetic {kind}": number for number, kind in NAMES.items()}
    pairs = []
    for n in numbers:
        item = make_image(n, SPEC, name=f"image_{n}.png")
        save_png(item, folder / "images")
        classes = np.array([numbered[s] for s in item.instances.sources], np.int32)
        pairs.append((item.name, item.instances.replace(classes=classes)))
    write_instances(folder / f"{name}.json", pairs, NAMES)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """labelled.json, images/ and archive/, with three classes."""
    folder = tmp_path_factory.mktemp("kinds")
    write_set(range(3), "labelled", folder)
    for n in range(5, 8):
        save_png(make_image(n, SPEC, name=f"image_{n}.png"), folder / "archive")
    return folder


def tree_of(data: Path, **method: Any) -> dict[str, Any]:
    """16 steps: 4 of the labeller, 6 of warm-up, 6 of fine-tuning, of which 3 with a slow trunk."""
    tree = recipe(data) | {"method": METHOD | method}
    tree["data"]["validation"] = None  # measured on the labels, at the end alone
    return tree


class Watched:
    """Runs a recipe and keeps what each step learnt from, and how fast."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tree: dict[str, Any], out: Path) -> None:
        self.steps: list[dict[str, Any]] = []
        self.loop: Any = None
        descend, run = Descent.__call__, Loop.run

        def watched(it: Any, student: Any, optimiser: Any, branches: list[Branch], r: Any) -> Any:
            apart = predictor_parameters(student)
            rates = {True: set(), False: set()}  # type: ignore[var-annotated]
            for group in optimiser.param_groups:
                for p in group["params"]:
                    rates[id(p) not in apart].add(group["lr"] / group["base_lr"])
            (branch,) = branches
            self.steps.append(
                {
                    "branch": branch.name,
                    "weight": branch.weight,
                    "trunk": rates[True],
                    "predictor": rates[False],
                    "classes": student.classes,
                    "taught": {int(c) for t in branch.targets for c in t.instances.classes},
                    "pseudo": {t.pseudo for t in branch.targets},
                    "student": student,
                    "before": {k: v.clone() for k, v in student.state_dict().items()},
                    "average": self.loop.state.average and _copy(self.loop.state.average),
                    "phase": self.loop.stages.phase(self.loop.state.facts.step),
                }
            )
            return descend(it, student, optimiser, branches, r)

        def watched_run(loop: Loop) -> Any:
            self.loop = loop
            return run(loop)

        monkeypatch.setattr(Descent, "__call__", watched)
        monkeypatch.setattr(Loop, "run", watched_run)
        train(parse_recipe(tree), out, reporter=silent)


def _copy(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


@pytest.fixture(scope="module")
def watched(kinds: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        out = tmp_path_factory.mktemp("watched") / "run"
        yield Watched(patch, tree_of(kinds, save_labeller=True), out)


def test_no_step_sees_labels_and_archive_together(watched: Watched) -> None:
    assert [s["branch"] for s in watched.steps] == (
        ["labelled"] * 4 + ["unlabelled"] * 6 + ["labelled"] * 6
    )
    assert [s["phase"] for s in watched.steps] == (
        [Phase.TEACHER] * 4 + [Phase.WARM_UP] * 6 + [Phase.FINE_TUNE] * 6
    )
    assert {s["weight"] for s in watched.steps} == {1.0}
    assert all(s["pseudo"] <= {s["branch"] == "unlabelled"} for s in watched.steps)


def test_classes_come_last(watched: Watched) -> None:
    assert [s["classes"] for s in watched.steps] == [(1,)] * 10 + [(2, 5, 9)] * 6
    assert all(s["taught"] <= {1} for s in watched.steps[:10])
    assert len(set().union(*(s["taught"] for s in watched.steps[10:]))) > 1
    assert all(s["taught"] <= {2, 5, 9} for s in watched.steps[10:])
    pool = read_instances(watched.loop.out / "pseudo_labels" / "warm_up.json")
    assert {int(c) for i in pool.values() for c in i.classes} == {1}
    tree = json.loads((watched.loop.out / "pseudo_labels" / "warm_up.json").read_text())
    assert [c["name"] for c in tree["categories"]] == ["organoid"]


def test_each_stage_is_annealed_and_the_trunk_is_slow_at_first(watched: Watched) -> None:
    for start, length in ((0, 4), (4, 6), (10, 6)):
        for position in range(length):
            step = watched.steps[start + position]
            expected = plan.rate(position, length, 2)
            assert list(step["predictor"]) == [pytest.approx(expected)]
            slow = 0.1 if start == 10 and position < 3 else 1.0
            assert all(rate == pytest.approx(slow * expected) for rate in step["trunk"])


def test_the_network_starts_afresh_and_goes_on_as_its_own_average(watched: Watched) -> None:
    steps = watched.steps
    assert steps[4]["student"] is not steps[3]["student"]
    fresh = steps[4]["before"]
    assert not any(
        torch.equal(v, steps[3]["before"][k])
        for k, v in fresh.items()
        if k.endswith("smooth.8.0.weight")
    )
    # The average after the last step of warm-up is what fine-tuning begins with, all but the score's filters.
    taken, average = steps[10]["before"], steps[10]["average"]
    renewed = {"network.score.weight", "network.score.bias"}
    assert {k for k, v in taken.items() if v.shape != steps[9]["before"][k].shape} == renewed
    # What came before its first step in fine-tuning: the average is the student itself.
    assert all(torch.allclose(average[k], taken[k], atol=1e-6) for k in taken)
    seen = steps[9]["average"]
    name = "network.head.0.0.weight"
    assert 0 < float((taken[name] - seen[name]).abs().max()) < 0.05


def test_the_run_leaves_a_model_of_all_classes_and_the_labeller_if_asked(watched: Watched) -> None:
    out = watched.loop.out
    for folder in ("model", "student"):
        assert read_description(out / folder).classes == NAMES
        assert load_module(out / folder)[0].classes == tuple(NAMES)
    labeller, description = load_module(out / "labeller")
    assert description.classes == {1: "organoid"}
    assert labeller.classes == (1,)
    assert json.loads((out / "result.json").read_text())["method"] == "class_agnostic"


class Enough(KeyboardInterrupt):
    """Somebody pulled the plug."""


def test_cut_in_every_stage_and_resumed_the_weights_have_the_same_bits(
    watched: Watched, kinds: Path, tmp_path: Path
) -> None:
    chosen, out = parse_recipe(tree_of(kinds, save_labeller=True)), tmp_path / "run"
    # The last step of a stage and the first of the next have no checkpoint of their own.
    for at in (3, 7, 10, 11, 15):

        def stop(event: str, facts: Any, at: int = at) -> None:
            if event == "step" and facts["step"] == at:
                raise Enough

        with pytest.raises(Enough):
            train(chosen, out, resume=out.exists(), reporter=stop)
        done = files.read(files.latest(out / "checkpoints")).facts["facts"]
        assert done["step"] in (at - 1, at - 2)
        assert done["told"] == (done["step"] > 10)
    train(chosen, out, resume=True, reporter=silent)
    assert differences(watched.loop.out, out) == []


def test_with_one_class_the_predictor_is_kept(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    run = Watched(monkeypatch, tree_of(data), tmp_path / "run")
    average = run.steps[10]["average"]
    assert {s["classes"] for s in run.steps} == {(1,)}
    assert all(torch.allclose(average[k], v, atol=1e-6) for k, v in run.steps[10]["before"].items())
    assert any("none is new" in note for note in run.loop.state.facts.notes)


def _teacher(folder: Path, names: dict[int, str], width: int = 32) -> Path:
    torch.manual_seed(1)
    options = {"width": width, "max_instances": 20}
    module = build_engine("compact", tuple(names), options, None)
    save_model(folder, module, "compact", module.options, names, 0.1, {})  # type: ignore[arg-type]
    return folder


def test_a_teacher_of_another_width_and_of_some_of_the_classes_labels_without_classes(
    monkeypatch: pytest.MonkeyPatch, kinds: Path, tmp_path: Path
) -> None:
    teacher = _teacher(tmp_path / "teacher", {1: "cyst", 2: "bud"})
    tree = tree_of(kinds, teacher=str(teacher), teacher_steps=None)
    run = Watched(monkeypatch, tree, tmp_path / "run")
    assert [s["phase"] for s in run.steps] == [Phase.WARM_UP] * 6 + [Phase.FINE_TUNE] * 6
    assert all(s["taught"] <= {1} for s in run.steps[:6])


def test_a_teacher_that_knows_other_classes_is_refused_by_their_names(
    kinds: Path, tmp_path: Path
) -> None:
    teacher = _teacher(tmp_path / "teacher", {1: "cyst", 2: "debris"})
    with pytest.raises(DataError, match="labels do not have: debris"):
        train(parse_recipe(tree_of(kinds, teacher=str(teacher))), tmp_path / "run", reporter=silent)


def test_an_engine_that_does_not_say_what_tells_classes_apart_is_refused_at_once(
    kinds: Path, tmp_path: Path, fake_engine: None
) -> None:
    tree = tree_of(kinds) | {"model": {"engine": "fake"}}
    with pytest.raises(UsageError, match="FakeEngine does not say"):
        train(parse_recipe(tree), tmp_path / "run", reporter=silent)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["class_agnostic", "guided"])
def test_a_teacher_that_finds_nothing_ends_the_run_with_the_reason(
    kinds: Path, tmp_path: Path, name: str
) -> None:
    tree = tree_of(kinds, accept=1.0)
    if name == "guided":
        tree["method"] = recipe(kinds, method={"accept": 1.0, "if_nothing": "stop"})["method"]
    with pytest.raises(RunError, match="finds no organoid in 3 archive images") as caught:
        train(parse_recipe(tree), tmp_path / "run", reporter=silent)
    assert "method.accept" in caught.value.remedy
    assert files.listed(tmp_path / "run" / "checkpoints")  # what was learnt is not lost


@pytest.mark.parametrize(
    ("key", "value"), [("unlabelled_weight", 2.0), ("calibrate", False), ("views", 2), ("pool", 0)]
)
def test_words_that_would_do_nothing_are_refused(kinds: Path, key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=key):
        parse_recipe(tree_of(kinds, **{key: value}))


def test_a_recipe_survives_being_written_and_read(kinds: Path) -> None:
    chosen = parse_recipe(tree_of(kinds))
    assert parse_recipe(chosen.model_dump(mode="json")) == chosen


def test_what_is_seen_as_two_classes_is_one_organoid() -> None:
    engine = build_engine("compact", (2, 5), {"width": 16, "max_instances": 20}, None).eval()
    item = make_image(1, SPEC)
    twice = item.instances.union(item.instances.replace(scores=item.instances.scores * 0.9))
    engine.segment = lambda *_: [twice.replace(classes=np.full(len(twice), 5, np.int32))]  # type: ignore[assignment]
    (found,) = OneClass(engine).segment(torch.zeros(1, 1, 96, 96))  # type: ignore[arg-type]
    assert set(found.classes.tolist()) == {1}
    assert len(found) <= len(item.instances)


def test_the_labeller_may_be_cut_short_but_a_stage_has_a_step() -> None:
    tree = {"data": {"labelled": {"annotations": "a", "images": "b"}, "unlabelled": "c"}}
    for share, expected in ((0.001, (1, 11)), (0.999, (11, 1)), (0.25, (3, 9))):
        chosen = parse_recipe(
            tree | {"method": METHOD | {"warm_up": share}, "training": {"steps": 12}}
        )
        lengths = dict(plan.schedule_of(chosen).lengths)
        assert (lengths[Phase.WARM_UP], lengths[Phase.FINE_TUNE]) == expected
        assert lengths[Phase.TEACHER] == 4
