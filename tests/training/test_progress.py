"""What a person and a program see of a run."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from organoseg.cli.main import main
from organoseg.core import RunError
from organoseg.distill.guard import judge
from organoseg.training import progress
from organoseg.training.progress import Bar, Journal, Lines
from organoseg.training.recipe import parse_recipe
from organoseg.training.run import train
from tests.training.fake_engine import BUILT
from tests.training.tiny import recipe

STEP = {"step": 4, "steps": 8, "phase": "teacher", "loss": 0.5}


def test_lines_tell_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 20.0, 21.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    lines = Lines(stream)
    lines("start", {"step": 2, "steps": 8})
    lines("step", STEP)
    lines("step", {**STEP, "step": 5})  # too soon for another line
    lines("step", {**STEP, "step": 8})
    assert stream.getvalue().splitlines()[1:] == [
        "teacher step 4/8, loss 0.500, 0:00:40 left",
        "teacher step 8/8, loss 0.500, 0:00:00 left",
    ]


def test_labelling_the_archive_shows_its_own_progress_and_does_not_spoil_the_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 0.0, 10.0, 310.0, 320.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    lines = Lines(stream)
    lines("start", {"step": 0, "steps": 8})
    lines("step", {**STEP, "step": 1})
    lines("label", {"step": 1, "done": 150, "images": 300})
    lines("step", {**STEP, "step": 2})
    assert stream.getvalue().splitlines()[1:] == [
        "teacher step 1/8, loss 0.500, 0:01:10 left",
        "labelling the archive: 150/300 images",
        "teacher step 2/8, loss 0.500, 0:01:00 left",
    ]


def test_the_time_left_says_that_it_leaves_out_the_labelling_until_one_was_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 0.0, 10.0, 110.0, 310.0, 320.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    lines = Lines(stream)
    lines("start", {"step": 0, "steps": 8})
    lines("step", {**STEP, "step": 1, "labellings": 2})
    lines("label", {"step": 1, "done": 100, "images": 300})
    lines("label", {"step": 1, "done": 300, "images": 300})
    lines("step", {**STEP, "step": 2, "labellings": 1})
    said = stream.getvalue().splitlines()
    assert said[1].endswith("0:01:10 left, and the archive is labelled twice")
    assert said[-1].endswith(", 0:06:00 left")  # six steps of 10 s, and 300 s of labelling


def test_sentences_are_sentences_and_looks_are_told_as_they_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 15.0, 16.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    lines = Lines(stream)
    lines("start", {"step": 0, "steps": 8})
    lines("note", {"step": 4, "text": "AP of the student 0.705"})
    look = {"step": 8, "what": "looking at the labelled images", "images": 10}
    lines("look", {**look, "done": 0})
    lines("look", {**look, "done": 1})  # too soon for another line
    lines("look", {**look, "done": 2})
    lines("look", {**look, "done": 3})
    lines("end", {"train": 784.2})
    assert stream.getvalue().splitlines()[1:] == [
        "note: step 4: AP of the student 0.705",
        "looking at the labelled images: 0/10",
        "looking at the labelled images: 3/10",
    ]


@pytest.mark.parametrize("validation", [True, False])
def test_a_run_on_labels_says_its_stage_its_last_looks_and_what_comes_next(
    data: Path,
    tmp_path: Path,
    fake_engine: None,
    validation: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    tree = recipe(data, model={"engine": "fake", "options": {}})
    tree["method"] = {"name": "supervised"}
    if not validation:
        tree["data"]["validation"] = None
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))

    monkeypatch.setattr(
        progress, "automatic", lambda: lambda event, facts: heard.append((event, dict(facts)))
    )
    run = tmp_path / "my run"
    assert main(["train", str(tmp_path / "recipe.yaml"), "--out", str(run)]) == 0
    assert {facts["phase"] for event, facts in heard if event == "step"} == {"supervised"}
    stored = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {line["phase"] for line in stored if "phase" in line} == {"teacher"}
    which = "validation" if validation else "labelled"
    last = [facts for event, facts in heard if event == "look" and "look 4 of 4" in facts["what"]]
    assert last[0]["done"] == 0
    assert last[-1]["done"] == last[-1]["images"] == (2 if validation else 3)
    assert f"looking at the {which} images to choose the score" in last[0]["what"]
    assert [event for event, _ in heard][-1] == "end"
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("Done in ")
    model = run / "model"
    assert said.endswith(f"Next: organoseg predict IMAGES --model '{model}' --out DIR")
    assert model.is_dir()


def test_a_guided_run_says_how_often_the_archive_is_still_labelled(
    data: Path, tmp_path: Path, fake_engine: None
) -> None:
    ahead: dict[int, int] = {}

    def watch(event: str, facts: Mapping[str, Any]) -> None:
        if event == "step":
            ahead[facts["step"]] = facts["labellings"]

    tree = recipe(data, model={"engine": "fake", "options": {}})
    train(parse_recipe(tree), tmp_path / "run", reporter=watch)
    # Four steps of the teacher, six of burn-in; the first step of a stage comes after its labelling.
    assert [ahead[step] for step in (1, 4, 5, 10, 11, 16)] == [2, 2, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("student", "says"),
    [
        (
            0.705,
            "0.057 behind, within the 0.25 that is allowed to a student whose training is not over",
        ),
        (0.780, "of the teacher 0.762 on validation: the student takes over"),
        (0.400, "more than 0.25 behind, the teacher stays"),
    ],
)
def test_the_guard_says_why(student: float, says: str) -> None:
    verdict = judge(student, 0.762, 0.25, "validation")
    assert says in verdict.reason
    assert verdict.switch == (student > 0.5)


@pytest.mark.parametrize("last", ["end", "abort"])
def test_a_bar_gives_the_terminal_back(last: str) -> None:
    bar = Bar()
    bar("start", {"step": 0, "steps": 8})
    bar("step", STEP)
    bar("label", {"step": 4, "done": 1, "images": 3})
    bar("note", {"step": 4, "text": "something"})
    bar("look", {"step": 8, "what": "looking", "done": 0, "images": 3})
    assert bar._bar.live.is_started
    bar(last, {"step": 4})
    assert not bar._bar.live.is_started


def test_a_run_that_fails_says_so_to_its_reporter(
    data: Path, tmp_path: Path, fake_engine: None
) -> None:
    events: list[str] = []

    def watch(event: str, facts: Mapping[str, Any]) -> None:
        events.append(event)
        if event == "step" and facts["step"] == 2:
            BUILT[-1].scale = float("nan")

    tree = recipe(data, model={"engine": "fake", "options": {}})
    with pytest.raises(RunError):
        train(parse_recipe(tree), tmp_path / "run", reporter=watch)
    assert events == ["start", "step", "step", "abort"]


def test_a_resumed_run_forgets_the_lines_it_will_write_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in (10, 20, 30):
        journal.write(step, "train", {"loss": step / 10, "phase": "teacher"})
    journal.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "kind": "tra')  # cut by a kill
    journal = Journal(tmp_path)
    journal.forget_after(20)
    journal.write(30, "train", {"loss": 9.0})
    journal.close()
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(x["step"], x["loss"]) for x in lines] == [(10, 1.0), (20, 2.0), (30, 9.0)]
    assert list((tmp_path / "tensorboard").iterdir())
