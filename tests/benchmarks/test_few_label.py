"""The few-label benchmark without its trainings: what is trained, what is kept, what is written."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image as Picture

from benchmarks import few_label, jobs, one_run
from benchmarks.machine import ROOT, describe_machine, shown_command
from benchmarks.runs import Plan, Run, check_same, plan_runs, recipe_of
from benchmarks.tables import number, replace_block
from benchmarks.testset import TestSet, choose_test_set
from organoseg.core import DataError, Instances, UsageError
from organoseg.evaluation import evaluate
from organoseg.io import read_instances, write_instances
from organoseg.training import run as training
from organoseg.training.recipe import dump_recipe, parse_recipe

SHAPE = (40, 40)
SPLIT = ["Subset_1_a.png", "Subset_2_b.png", "Subset_5_c.png"]
BLOCK = "# Figures\n\n<!-- few-label: begin -->\nold\n<!-- few-label: end -->\n\nMore words.\n"


def squares(*corners: tuple[int, int]) -> Instances:
    dense = np.zeros((len(corners), *SHAPE), bool)
    for bits, (y, x) in zip(dense, corners, strict=True):
        bits[y : y + 12, x : x + 12] = True
    return Instances.from_dense(dense, scores=np.linspace(0.9, 0.5, len(corners), dtype=np.float32))


def write_side(folder: Path, side: str, names: Sequence[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    (folder / side).mkdir(parents=True)
    for name in names:
        pixels = rng.integers(0, 255, SHAPE, np.uint8)
        Picture.fromarray(pixels).save(folder / side / name)
    labels = [(name, squares((2, 2), (20, 20))) for name in names]
    write_instances(folder / f"instances_{side}.json", labels)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_side(folder, "val", SPLIT, 1)
    write_side(folder, "test", ["Subset_1_t.png", "Subset_3_u.png"], 2)
    write_side(folder, "train", ["Subset_1_x.png", "Subset_4_y.png"], 3)
    splits = {"labelled_5": SPLIT[:2], "labelled_15": SPLIT, "validation": SPLIT[2:]}
    (folder / "few_label_splits.json").write_text(json.dumps(splits))
    return folder


def plan(data: Path, **fields: Any) -> Plan:
    usual: dict[str, Any] = {
        "labelled": (5, 15),
        "methods": ("supervised", "guided"),
        "seeds": (0, 1),
        "steps": 40,
    }
    return Plan(data, data.parent / "out", **(usual | fields))


def pretend_training(run: Run, recipe_text: str, seconds: float = 60.0) -> None:
    """What a training leaves in its folder, as far as the benchmark looks."""
    for part in ("model", "student"):
        (run.training / part).mkdir(parents=True, exist_ok=True)
        description = {"weights_sha256": f"{run.method}{run.seed}"}
        (run.training / part / "model.yaml").write_text(yaml.safe_dump(description))
    (run.training / "recipe.yaml").write_text(recipe_text)
    result = {
        "labelled_images": run.labelled,
        "unlabelled_images": 2,
        "steps": 40,
        "notes": [],
        "seconds": {"train": seconds, "steps": 40, "waiting_share": 0.01},
    }
    (run.training / "result.json").write_text(json.dumps(result))


def pretend_run(folder: Path) -> None:
    """A whole run: guided ones find both organoids, supervised ones only the first."""
    spec = json.loads((folder / "spec.json").read_text())
    run = one_run.run_of_spec(folder, spec)
    text = (folder / "recipe.yaml").read_text()
    pretend_training(run, text)
    test = TestSet.from_dict(spec["test"])
    truth = test.labels().instances
    corners = [(2, 2), (20, 20)][: 2 if run.method == "guided" else 1]
    found = {name: squares(*corners) for name in truth}
    write_instances(run.predictions(test.key), found.items())
    figures = evaluate(found, truth, bootstrap=20).to_dict()
    recipe = parse_recipe(yaml.safe_load(text))
    record = {
        **one_run._facts(run, recipe, spec),
        **figures,
        "student": figures,
        "weights_sha256": f"{run.method}{run.seed}",
    }
    run.figures(test.key).write_text(json.dumps(record))


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs are pretended; their labels are collected."""
    labels: list[str] = []

    def run_all(todo: list[Run], before: set[Run], *_: Any) -> int:
        for run in todo:
            assert all(needed in before or needed in todo for needed in run.needs)
            pretend_run(run.folder)
            labels.append(run.label)
        return 0

    monkeypatch.setattr(few_label, "run_all", run_all)
    return labels


def arguments(data: Path, *more: str) -> list[str]:
    out = str(data.parent / "out")
    usual = ["--data", str(data), "--out", out, "--labelled", "5", "--seeds", "0,1"]
    return [*usual, "--steps", "40", "--bootstrap", "20", *more]


# -- what is trained ---------------------------------------------------------------------------


def test_a_guided_run_needs_the_supervised_one_of_its_seed(data: Path) -> None:
    runs = plan_runs(plan(data, methods=("guided",), labelled=(5,)))
    assert [(r.method, r.seed) for r in runs] == [
        ("supervised", 0),
        ("supervised", 1),
        ("guided", 0),
        ("guided", 1),
    ]
    assert [[needed.seed for needed in r.needs] for r in runs] == [[], [], [0], [1]]
    alone = plan(data, methods=("guided",), labelled=(5,), teacher_from_supervised=False)
    assert [(r.method, r.needs) for r in plan_runs(alone)] == [("guided", ())] * 2


def test_two_supervised_models_teach_where_two_students_learn(data: Path) -> None:
    runs = plan_runs(plan(data, methods=("mutual",), labelled=(5,), seeds=(0, 1)))
    pairs = [[needed.seed for needed in r.needs] for r in runs if r.method == "mutual"]
    assert pairs == [[0, 1], [1, 0]]
    alone = plan_runs(plan(data, methods=("mutual",), labelled=(5,), seeds=(4,)))
    assert [(r.method, r.seed) for r in alone] == [
        ("supervised", 4), ("supervised", 5), ("mutual", 4),
    ]  # fmt: skip


def test_a_variant_is_of_one_method(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        few_label.parse_job(
            arguments(data, "--methods", "guided,class_agnostic", "--variant", "other")
        )
    assert "one method" in capsys.readouterr().err


def test_recipes_of_both_methods_train_alike(data: Path) -> None:
    chosen = plan(data, labelled=(15,), seeds=(3,), overrides=("training.batch=2",))
    supervised, guided = (recipe_of(chosen, run) for run in plan_runs(chosen))
    assert supervised.data.labelled == guided.data.labelled
    assert supervised.training == guided.training
    assert (guided.training.steps, guided.training.batch, guided.seed) == (40, 2, 3)
    assert supervised.data.validation is None
    assert supervised.data.unlabelled is None
    assert guided.data.unlabelled == chosen.archive
    first = plan_runs(chosen)[0]
    assert guided.method.teacher == first.model  # type: ignore[union-attr]


def test_in_a_shift_the_test_subset_lends_no_labels(data: Path) -> None:
    chosen = plan(data, labelled=(15,), seeds=(0,), shift=True)
    guided = recipe_of(chosen, plan_runs(chosen)[1])
    assert guided.data.labelled.names == ("Subset_2_b.png", "Subset_5_c.png")
    assert guided.data.prefer == ("Subset_1",)


def test_overrides_of_the_method_are_for_guided_runs_only(data: Path) -> None:
    chosen = plan(data, labelled=(5,), seeds=(0,), overrides=("method.burn_in=0.25",))
    supervised, guided = (recipe_of(chosen, run) for run in plan_runs(chosen))
    assert supervised.method.name == "supervised"
    assert guided.method.burn_in == 0.25  # type: ignore[union-attr]


def test_an_unknown_key_is_refused_before_anything_is_written(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert few_label.main(arguments(data, "--set", "training.stepps=3")) == 2
    assert "stepps" in capsys.readouterr().err
    assert not (data.parent / "out").exists()


# -- what is kept ------------------------------------------------------------------------------


def test_a_benchmark_goes_on_where_it_was_killed(data: Path, done: list[str]) -> None:
    assert few_label.main(arguments(data)) == 0
    assert len(done) == 4
    done.clear()
    assert few_label.main(arguments(data)) == 0
    assert done == []
    lost = next((data.parent / "out").rglob("guided/seed-1/figures-*.json"))
    lost.unlink()
    assert few_label.main(arguments(data, "--threads", "1")) == 0
    assert done == ["5 labels, guided, seed 1"]


def test_a_retrained_model_is_measured_anew(data: Path, done: list[str]) -> None:
    few_label.main(arguments(data))
    done.clear()
    model = next((data.parent / "out").rglob("supervised/seed-0/training/model/model.yaml"))
    model.write_text(yaml.safe_dump({"weights_sha256": "other"}))
    few_label.main(arguments(data))
    assert done == ["5 labels, supervised, seed 0"]


def test_a_run_with_other_settings_is_not_taken_for_the_asked_one(data: Path) -> None:
    old = plan(data, labelled=(5,), seeds=(0,))
    run = plan_runs(old)[0]
    pretend_training(run, dump_recipe(recipe_of(old, run)))
    with pytest.raises(UsageError, match=r"training\.steps was 40, is 80.*--out"):
        check_same(run, recipe_of(plan(data, steps=80), run))
    check_same(run, recipe_of(plan(data, threads=1), run))
    (run.training / "result.json").unlink()
    with pytest.raises(UsageError, match="threads"):
        check_same(run, recipe_of(plan(data, threads=1), run))


def test_another_test_set_is_measured_beside_the_first(data: Path, done: list[str]) -> None:
    few_label.main(arguments(data))
    done.clear()
    assert few_label.main(arguments(data, "--test-split", "validation")) == 0
    results = json.loads((data.parent / "out/results.json").read_text())
    assert results["test"]["names"] == SPLIT[2:]
    assert len(list((data.parent / "out").rglob("figures-*.json"))) == 8


@pytest.mark.parametrize(("checkpoint", "resumed"), [(False, False), (True, True)])
def test_a_cut_training_goes_on_from_its_checkpoint(
    data: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: bool, resumed: bool
) -> None:
    chosen = plan(data, labelled=(5,), seeds=(0,))
    run = plan_runs(chosen)[0]
    recipe = recipe_of(chosen, run)
    (run.training / "checkpoints").mkdir(parents=True)
    (run.training / "recipe.yaml").write_text(dump_recipe(recipe))
    if checkpoint:
        (run.training / "checkpoints/step-00000010.safetensors").write_bytes(b"")
    calls = []

    def train(recipe: Any, out: Path, resume: bool) -> None:
        calls.append((resume, out.exists()))
        pretend_training(run, dump_recipe(recipe))

    monkeypatch.setattr(training, "train", train)
    one_run.train_run(run, recipe)
    one_run.train_run(run, recipe)  # done: nothing happens
    assert calls == [(resumed, checkpoint)]


def test_a_failed_run_costs_itself_and_what_needs_it(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Process:
        def __init__(self, run: Run) -> None:
            bad = run.method == "supervised" and run.seed == 0
            self.returncode = 3 if bad else 0

        def poll(self) -> int:
            return self.returncode

    started: list[str] = []

    def start(run: Run, threads: int | None) -> Process:
        started.append(run.label)
        run.folder.mkdir(parents=True)
        (run.folder / "log.txt").write_text("first\nthe disk is full\n")
        return Process(run)

    monkeypatch.setattr(jobs, "_start", start)
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.0)
    said: list[str] = []
    runs = plan_runs(plan(data, labelled=(5,)))
    assert jobs.run_all(runs, set(), 2, 1, said.append) == 2
    assert started == [
        "5 labels, supervised, seed 0",
        "5 labels, supervised, seed 1",
        "5 labels, guided, seed 1",
    ]
    assert any("FAILED (3)" in line and "the disk is full" in line for line in said)


# -- what is written ---------------------------------------------------------------------------


def test_table_and_results(data: Path, done: list[str], tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(BLOCK)
    peer = tmp_path / "peer.json"
    truth = read_instances(data / "instances_test.json")
    write_instances(peer, truth.items())
    more = ["--table", str(page), "--peer", f"Rival={peer}"]
    assert few_label.main(arguments(data, *more)) == 0

    text = page.read_text()
    assert text.startswith("# Figures\n\n<!-- few-label: begin -->\n| labels |")
    assert text.endswith("<!-- few-label: end -->\n\nMore words.\n")
    assert "old" not in text
    rows = {line.split(" | ")[1]: line.split(" | ") for line in text.splitlines() if "|" in line}
    assert rows["Rival, as published"][2] == "1.000"
    assert rows["supervised"][2].startswith("**.50")
    assert "+.49" in text
    assert "2 of 2" in text
    assert str(tmp_path) not in text

    results = json.loads((data.parent / "out/results.json").read_text())
    assert {(r["variant"], r["training_seed"]) for r in results["runs"]} == {
        ("supervised", 0),
        ("supervised", 1),
        ("guided", 0),
        ("guided", 1),
    }
    one = results["runs"][0]
    wanted = {"labelled", "method", "steps", "seconds", "AP", "AP50", "AP75", "mSA", "F1", "precision",
              "recall", "recall_overlapping", "recall_isolated", "count_error", "intervals", "machine",
              "split", "command", "student"}  # fmt: skip
    assert wanted <= one.keys()


def test_variants_share_the_supervised_baseline(data: Path, done: list[str]) -> None:
    few_label.main(arguments(data))
    done.clear()
    few_label.main(arguments(data, "--variant", "paper", "--set", "method.preset=paper"))
    assert done == ["5 labels, paper, seed 0", "5 labels, paper, seed 1"]
    table = (data.parent / "out/table-few-label.md").read_text()
    assert "| 5 | guided |" in table
    assert "| 5 | paper |" in table


def test_a_page_without_the_block_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("words\n")
    with pytest.raises(DataError, match="few-label"):
        replace_block(page, "few-label", "table")
    assert page.read_text() == "words\n"


def copy_image(data: Path, source: str, target: str) -> None:
    (data / target).write_bytes((data / source).read_bytes())


@pytest.mark.parametrize("target", ["train/Subset_1_x.png", "val/Subset_2_b.png"])
def test_a_test_image_among_the_trained_ones_is_refused(
    data: Path, done: list[str], capsys: pytest.CaptureFixture[str], target: str
) -> None:
    copy_image(data, "test/Subset_1_t.png", target)
    assert few_label.main(arguments(data)) == 3
    assert Path(target).name in capsys.readouterr().err
    assert done == []


def test_another_choice_of_test_images_has_another_key(data: Path) -> None:
    whole = choose_test_set(data)
    part = choose_test_set(data, words=("Subset_1",))
    assert part.names == ("Subset_1_t.png",)
    assert whole.key != part.key
    assert TestSet.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole


@pytest.mark.parametrize(
    ("value", "text"), [(0.7241, ".724"), (-0.01, "-.010"), (1.0, "1.000"), (None, "-")]
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_commands_name_no_machine(tmp_path: Path) -> None:
    shown = shown_command(
        "x.py", ["--data", str(ROOT.parent / "shared/data"), f"A={tmp_path}/p.json"]
    )
    assert shown == "python benchmarks/x.py --data ../shared/data A=p.json"
    assert describe_machine()["cores"] >= 1
