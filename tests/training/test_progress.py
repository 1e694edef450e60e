"""What a person and a program see of a run."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from organoseg.core import RunError
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


@pytest.mark.parametrize("last", ["end", "abort"])
def test_a_bar_gives_the_terminal_back(last: str) -> None:
    bar = Bar()
    bar("start", {"step": 0, "steps": 8})
    bar("step", STEP)
    bar("label", {"step": 4, "done": 1, "images": 3})
    bar("note", {"step": 4, "text": "something"})
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
