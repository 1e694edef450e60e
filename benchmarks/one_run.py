"""One training of the few-label benchmark, then its figures, in a process of its own.

    python -m benchmarks.one_run SPEC.json

SPEC.json is what `few_label.py` writes into the run's folder. Stdin is held by the parent: when it
closes, the parent is gone and so goes this process, after a checkpoint.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.costs import cost_of
from benchmarks.machine import describe_machine
from benchmarks.runs import Run
from benchmarks.testset import TestSet
from organoseg.core import OrganosegError, read_json, write_json
from organoseg.training.recipe import Recipe, load_recipe


def train_run(run: Run, recipe: Recipe) -> None:
    """Train, go on with a training that was cut, or do nothing when it is done."""
    from organoseg.training.checkpoint import listed
    from organoseg.training.run import train

    if run.trained:
        return
    started = bool(listed(run.training / "checkpoints"))
    if not started and run.training.exists():
        shutil.rmtree(run.training)  # it was killed before its first checkpoint
    train(recipe, run.training, resume=started)


def measure_run(run: Run, recipe: Recipe, spec: dict[str, Any]) -> None:
    """Evaluate both of a run's models on the test set and write figures and predictions."""
    import torch

    from organoseg.evaluation import evaluate
    from organoseg.inference.api import choose_device
    from organoseg.io import write_instances
    from organoseg.models.folder import load_module
    from organoseg.training.validation import predict_dataset

    test = TestSet.from_dict(spec["test"])
    if recipe.training.threads is not None:
        torch.set_num_threads(recipe.training.threads)
    dataset, first_id = test.load(), test.labels().first_id
    device = choose_device(recipe.training.device)
    figures: dict[str, Any] = {}
    for part in ("student", "model"):
        module, description = load_module(run.training / part)
        found, truth = predict_dataset(module.to(device), dataset, device)
        found_figures = evaluate(found, truth, bootstrap=spec["bootstrap"], first_id=first_id)
        figures[part] = found_figures.to_dict()
    write_instances(run.predictions(test.key), found.items(), description.classes)
    record = {
        **_facts(run, recipe, spec),
        **figures["model"],
        "student": figures["student"],
        "weights_sha256": description.weights_sha256,
    }
    write_json(run.figures(test.key), record)


def _facts(run: Run, recipe: Recipe, spec: dict[str, Any]) -> dict[str, Any]:
    result = read_json(run.training / "result.json")
    teachers = [read_json(r.training / "result.json") for r in run.needs]
    return {
        "protocol": spec["protocol"],
        "labelled": run.labelled,
        "labelled_images": result["labelled_images"],
        "unlabelled_images": result["unlabelled_images"],
        "method": run.method,
        "variant": run.folder.parent.name,
        "training_seed": run.seed,
        "steps": recipe.training.steps,
        "steps_in_all": result["steps"],
        "seconds": _seconds(result),
        "teacher_seconds": sum(_seconds(t) or 0 for t in teachers) if teachers else None,
        "waiting_share": result["seconds"]["waiting_share"],
        "notes": result["notes"],
        "cost": cost_of(run.training),
        "threads": recipe.training.threads,
        "split": f"labelled_{run.labelled}",
        "test": {k: v for k, v in spec["test"].items() if k != "names"},
        "machine": describe_machine(),
        "command": spec["command"],
        "overrides": spec.get("overrides", []),
    }


def _seconds(result: dict[str, Any]) -> float | None:
    """Seconds of training; of a resumed run, scaled from the steps after the last resume."""
    done = result["seconds"]["steps"]
    return result["seconds"]["train"] * result["steps"] / done if done else None


def _leave_with_parent() -> None:
    def watch() -> None:
        # Not sys.stdin: its lock, held by this thread, would break the interpreter's end.
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works in this folder (one whose parent was killed ends soon)."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_of_spec(folder: Path, spec: dict[str, Any]) -> Run:
    """The run that a spec describes."""
    needs = tuple(
        Run(spec["labelled"], "supervised", one["seed"], Path(one["folder"]))
        for one in spec["needs"]
    )
    return Run(spec["labelled"], spec["method"], spec["seed"], folder, needs)


def main(path: Path) -> int:
    """Do what the spec says."""
    spec = read_json(path)
    run = run_of_spec(path.parent, spec)
    try:
        with _alone(run.folder):
            recipe = load_recipe(run.folder / "recipe.yaml")
            train_run(run, recipe)
            measure_run(run, recipe, spec)
    except OrganosegError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    _leave_with_parent()
    sys.exit(main(Path(sys.argv[1])))
