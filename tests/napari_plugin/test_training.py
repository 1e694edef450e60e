"""Training beside napari: followed line by line, found again, stopped, judged. No window and no torch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from organoseg.core import DataError, Image, Instances, Mask, UsageError
from organoseg_napari import jobs, recipes, rounds

psutil = pytest.importorskip("psutil", reason="psutil is not installed (organoseg[napari])")

#: What `organoseg train` prints and writes, at the pace of the test: one line of it for each line of the file `go`.
FAKE = """
import json, signal, sys, time
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
print("start: step 0, steps 30", file=sys.stderr, flush=True)
for step in (10, 20, 30):
    while not (out / f"go{step}").exists() and not stop:
        time.sleep(0.01)
    if stop:
        sys.exit("organoseg: error: the run was told to stop")
    if (out / "fail").exists():
        sys.exit("organoseg: error: the disk is full")
    with (out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, "kind": "train", "loss": 3 / step}) + "\\n")
        spread = {"AP_low": step / 200, "AP_high": step / 50} if step > 10 else {}
        file.write(json.dumps({"step": step, "kind": "validation", "AP": step / 100, **spread}) + "\\n")
    print(f"teacher step {step}/30, loss {3 / step:.3f}, 0:00:10 left", file=sys.stderr, flush=True)
(out / "result.json").write_text(json.dumps({"seconds": {"train": 70.0}}))
"""


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts the program above in the place of `organoseg train`."""
    (tmp_path / "organoseg").mkdir()
    (tmp_path / "organoseg" / "cli").mkdir()
    for part in ("", "cli/"):
        (tmp_path / "organoseg" / f"{part}__init__.py").write_text("")
    (tmp_path / "organoseg" / "cli" / "main.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "r.yaml").write_text("{}")
    return tmp_path / "r.yaml"


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "nothing happened in a minute"
        time.sleep(0.01)


def test_a_run_is_followed_found_again_and_ends(train: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs" / "first"
    job = jobs.start(train, out)
    watch = jobs.Watch(job)
    until(lambda: watch.look().steps == 30)
    with pytest.raises(UsageError, match="under way already"):
        jobs.start(train, out)
    (out / "go10").touch()
    until(lambda: watch.look().step == 10)
    assert watch.progress.state == "running"
    assert watch.progress.losses == [(10, 0.3)]
    assert watch.progress.precisions == [(10, 0.1)]
    # napari is closed and opened again: another process knows nothing but the folder.
    jobs._CHILDREN.clear()
    again = jobs.Watch(jobs.attach(out))
    assert again.look().step == 10
    assert again.progress.state == "running"
    (out / "go20").touch()
    (out / "go30").touch()
    until(lambda: again.look().state == "finished")
    assert [step for step, _ in again.progress.losses] == [10, 20, 30]
    assert again.progress.left == "0:00:10"
    assert again.progress.intervals == [(20, 0.1, 0.4), (30, 0.15, 0.6)]


def test_the_newest_picture_of_what_is_found_is_shown_and_none_of_a_run_before(
    train: Path, tmp_path: Path
) -> None:
    out = tmp_path / "first"
    watch = jobs.Watch(jobs.start(train, out))
    (out / "samples").mkdir(parents=True)
    for name in ("step-00005.png", "step-00010.png", "step-00900.png", "notes.txt"):
        (out / "samples" / name).touch()
    (out / "go10").touch()
    until(lambda: watch.look().step == 10)
    assert watch.look().sample == (10, out / "samples" / "step-00010.png")
    jobs.stop(watch.job)
    until(lambda: not jobs.alive(watch.job))


def test_a_run_can_be_stopped_and_says_so(train: Path, tmp_path: Path) -> None:
    out = tmp_path / "first"
    watch = jobs.Watch(jobs.start(train, out))
    until(lambda: watch.look().steps == 30)
    jobs.stop(watch.job)
    until(lambda: not jobs.alive(watch.job))
    assert watch.look().state == "stopped"
    jobs.stop(watch.job)  # twice does no harm


def test_a_run_that_failed_shows_its_last_words(train: Path, tmp_path: Path) -> None:
    out = tmp_path / "first"
    out.mkdir()
    (out / "fail").touch()
    (out / "go10").touch()
    watch = jobs.Watch(jobs.start(train, out))
    until(lambda: watch.look().state not in ("starting", "running"))
    assert watch.progress.state == "failed"
    assert "the disk is full" in watch.progress.words


def test_another_process_with_the_same_number_is_not_taken_for_the_run(tmp_path: Path) -> None:
    me = psutil.Process(os.getpid())
    mine = jobs.Job(tmp_path, tmp_path, os.getpid(), me.create_time())
    assert jobs.alive(mine)
    assert not jobs.alive(jobs.Job(tmp_path, tmp_path, os.getpid(), me.create_time() - 60))
    assert not jobs.alive(jobs.Job(tmp_path, tmp_path, 2**22 + 1, 0.0))


def test_half_a_line_waits_and_a_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = jobs.Tail(path)
    assert tail.lines() == []
    path.write_text("one\ntw")
    assert tail.lines() == ["one"]
    with path.open("a") as file:
        file.write("o\n")
    assert tail.lines() == ["two"]
    path.write_text("1\n")
    assert tail.shrunk()
    assert tail.lines() == ["1"]


def test_notes_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        jobs.attach(tmp_path / "none")
    jobs.job_file(tmp_path / "x").write_text(json.dumps({"out": 3}))
    with pytest.raises(DataError, match="cannot be read"):
        jobs.attach(tmp_path / "x")


def test_a_recipe_is_made_of_what_the_user_has(tmp_path: Path) -> None:
    given = tmp_path / "mine.yaml"
    given.write_text("{}")
    assert recipes.recipe_for(given, tmp_path / "run") == given
    with pytest.raises(DataError, match="nothing to learn from"):
        recipes.recipe_for(tmp_path / "empty", tmp_path / "run")
    with pytest.raises(DataError, match="no such recipe"):
        recipes.recipe_for(tmp_path / "gone.yaml", tmp_path / "run")


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (None, "first model"),
        ((0.05, 0.02, 0.08), "has paid"),
        ((0.004, 0.001, 0.007), "hardly"),
        ((-0.05, -0.08, -0.02), "Worse"),
        ((0.0, -0.005, 0.005), "No better"),
        ((0.03, -0.05, 0.11), "too few to tell"),
    ],
)
def test_advice_is_plain_and_follows_the_interval(
    gain: tuple[float, float, float] | None, words: str
) -> None:
    before = None if gain is None else 0.6
    result = rounds.Round(12, 0.65, (0.6, 0.7), before, gain, 200.0, None)
    assert words in result.advice
    assert "AP 0.650 on 12 held-out images" in result.advice
    assert "3 min" in result.advice


@pytest.mark.parametrize(("seconds", "words"), [(5, "5 s"), (600, "10 min"), (9000, "2 h 30 min")])
def test_time_in_words(seconds: float, words: str) -> None:
    assert rounds.duration(seconds) == words


def test_a_round_is_judged_on_the_held_out_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tifffile

    import organoseg
    from organoseg.io import write_instances

    square = np.zeros((40, 40), bool)
    square[10:30, 10:30] = True
    truth = Instances.from_dense(square[None])
    names = [f"{n}.tif" for n in range(3)]
    held = tmp_path / "validation"
    held.mkdir()
    for number, name in enumerate(names):
        tifffile.imwrite(held / name, np.full((40, 40), number, np.uint8))
    write_instances(held / "instances.json", [(name, truth) for name in names])
    run = tmp_path / "run"
    run.mkdir()
    part = {"annotations": str(held / "instances.json"), "images": str(held), "names": names[:2]}
    (run / "recipe.yaml").write_text(yaml.safe_dump({"data": {"validation": part}}))

    class Fixed:
        score_threshold = 0.5

        def __init__(self, mask: Mask) -> None:
            self.mask = mask

        def segment(self, image: Image, threshold: float) -> Instances:
            return Instances.from_masks(image.shape, [self.mask, self.mask], scores=[0.9, 0.1])

    good = truth.masks[0]
    poor = Mask(good.y, good.x, good.bits[:11])
    made = {run / "model": Fixed(good), tmp_path / "old": Fixed(poor)}
    monkeypatch.setattr(organoseg, "load_model", made.__getitem__, raising=False)
    steps = []
    judge = rounds.judge(run, tmp_path / "old")
    try:
        while True:
            steps.append(next(judge))
    except StopIteration as end:
        result = end.value
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert result.images == 2
    assert result.after > result.before
    assert result.gain[0] == pytest.approx(result.after - result.before)
    assert len(result.sample[1]) == 1, "shown from the model's own score on"
    (run / "recipe.yaml").write_text("data: {}")
    with pytest.raises(DataError, match="cannot be read"):
        rounds.held_out(run)
    (run / "recipe.yaml").write_text("data: {validation: null}")
    with pytest.raises(DataError, match="no held-out images"):
        rounds.held_out(run)
    assert rounds.is_measured(run) is False
    assert rounds.is_measured(tmp_path / "not yet") is None


def test_a_training_from_an_exported_folder_begins_without_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from organoseg.review import ReviewSession, export_project
    from tests.review.small import make_project

    project = make_project(tmp_path, 3)
    with ReviewSession.open(project) as session:
        for picture in project.pictures:
            session.go(picture.key)
            session.complete(accept_rest=True)
    export_project(project.folder, tmp_path / "dataset")
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("ORGANOSEG_OFFLINE", "1")
    monkeypatch.setenv("ORGANOSEG_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "run"
    quick = ["training.steps=1", "training.batch=1", "training.augmentation.crop=64"]
    quick += ["training.device=cpu", "training.threads=1"]
    job = jobs.start(recipes.recipe_for(tmp_path / "dataset", out), out, quick)
    jobs._CHILDREN[job.pid].wait(timeout=240)
    now = jobs.Watch(job).look()
    assert now.state == "finished", job.log.read_text()
    assert (out / "model" / "model.yaml").is_file()
    assert not any((tmp_path / "cache").iterdir())


def test_what_a_command_would_say_names_what_to_press() -> None:
    from organoseg_napari import messages

    failed = DataError(
        "download failed: timed out", remedy="Run the command again to resume. Or do it by hand."
    )
    told = messages.explain(failed)
    assert "command" not in told
    assert "Try again to resume." in told
    assert "Press Train again to resume." in messages.in_a_window(
        "Run the command again to resume.", "Press Train again"
    )
    known = messages.explain(UsageError("taken", remedy="Add --resume, or give another --out."))
    assert "--" not in known
    assert "Go on with a run that was stopped" in known
