"""A run may die at any moment: it goes on, and the result has the same bits."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kill_resume import differences, killed, run
from organoseg.cli.main import main
from organoseg.core import UsageError
from organoseg.training import checkpoint as files
from organoseg.training.progress import silent
from organoseg.training.run import train
from tests.training.tiny import recipe, write_recipe

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The recipe and the folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = write_recipe(folder / "recipe.yaml", recipe(data))
    assert run(path, folder / "run", None)
    return path, folder / "run"


def test_killed_at_three_random_steps_and_resumed_the_weights_have_the_same_bits(
    undisturbed: tuple[Path, Path], tmp_path: Path
) -> None:
    path, whole = undisturbed
    points = sorted(
        random.sample(range(1, 16), 3)
    )  # other steps every time; the message tells which
    killed(path, tmp_path / "run", points)
    assert differences(whole, tmp_path / "run") == [], f"killed at {points}"
    ours, theirs = (json.loads((r / "result.json").read_text()) for r in (whole, tmp_path / "run"))
    assert ours["teacher"] == theirs["teacher"]
    assert ours["student"] == theirs["student"]
    assert not list((tmp_path / "run").rglob(".tmp-*"))


def test_the_undisturbed_run_left_what_it_promises(undisturbed: tuple[Path, Path]) -> None:
    _, whole = undisturbed
    names = {p.name for p in whole.iterdir()}
    assert {"recipe.yaml", "environment.json", "metrics.jsonl", "result.json"} <= names
    assert len(files.listed(whole / "checkpoints")) == 3
    assert files.latest(whole / "checkpoints").name == "step-00000016.safetensors"
    assert (whole / "checkpoints" / files.BEST).exists()
    lines = [json.loads(x) for x in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if x["kind"] == "validation"] == [6, 12, 16]


def test_a_kill_between_the_last_checkpoint_and_the_model_loses_nothing(
    undisturbed: tuple[Path, Path], tmp_path: Path
) -> None:
    path, whole = undisturbed
    copy = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(copy / "model")
    shutil.rmtree(copy / "student")
    (copy / "result.json").unlink()
    train(path, copy, resume=True, reporter=silent)
    assert differences(whole, copy) == []


def _wait_for(there: Callable[[], Any], process: subprocess.Popen[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert process.poll() is None, "the run ended by itself"
        assert time.monotonic() < deadline


def test_sigterm_writes_a_checkpoint_and_says_so_with_143(
    undisturbed: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    path, whole = undisturbed
    out = tmp_path / "run"
    command = [sys.executable, "-m", "organoseg.cli.main", "train", str(path), "--out", str(out)]
    with subprocess.Popen(
        [*command, "--set", "training.checkpoint_every=1"], stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    ) as process:  # fmt: skip
        _wait_for(lambda: files.listed(out / "checkpoints"), process, 250)
        process.send_signal(signal.SIGTERM)
        _, words = process.communicate(timeout=250)
    assert process.returncode == 143, words
    assert "--resume" in words
    stopped = files.read(files.latest(out / "checkpoints")).facts["facts"]["step"]
    assert 1 <= stopped < 16
    train(path, out, overrides=["training.checkpoint_every=2"], resume=True, reporter=silent)
    assert differences(whole, out) == []


def test_an_existing_run_is_not_overwritten(
    undisturbed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, whole = undisturbed
    before = (whole / "model" / "weights.safetensors").stat()
    assert main(["train", str(path), "--out", str(whole)]) == 2
    words = capsys.readouterr().err
    assert "holds a run already" in words
    assert str(whole) in words
    assert "--resume" in words
    assert (whole / "model" / "weights.safetensors").stat() == before


def test_resuming_nothing_is_refused_and_makes_no_folder(
    undisturbed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = undisturbed
    assert main(["train", str(path), "--out", str(tmp_path / "none"), "--resume"]) == 2
    assert "no run to resume" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_changed_recipe_is_refused_by_the_name_of_what_changed(
    undisturbed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, whole = undisturbed
    code = main(["train", str(path), "--out", str(whole), "--resume", "--set", "training.batch=2"])
    words = capsys.readouterr().err
    assert code == 2
    assert "training.batch was 1, is 2" in words


def _labels_changed(data: Path) -> None:
    tree = json.loads((data / "labelled.json").read_text())
    tree["annotations"].pop()
    (data / "labelled.json").write_text(json.dumps(tree))


def _archive_changed(data: Path) -> None:
    shutil.copy(data / "images" / "image_0.png", data / "archive" / "image_5.png")


def test_changed_labels_or_images_are_refused(data: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(data, tmp_path / "data")
    path = write_recipe(tmp_path / "recipe.yaml", recipe(mine, method={"teacher_steps": 8}))
    out = tmp_path / "run"

    class Enough(KeyboardInterrupt):
        pass

    def stop(event: str, facts: Any) -> None:
        if event == "step" and facts["step"] == 3:
            raise Enough

    with pytest.raises(Enough):
        train(path, out, reporter=stop)
    assert files.latest(out / "checkpoints").name == "step-00000002.safetensors"
    for change in (_labels_changed, _archive_changed):
        change(mine)
        with pytest.raises(UsageError, match="changed since the checkpoint was written"):
            train(path, out, resume=True, reporter=silent)
        shutil.copytree(data, mine, dirs_exist_ok=True)
