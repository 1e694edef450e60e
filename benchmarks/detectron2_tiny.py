"""detectron2 on a processor: a small Mask R-CNN trained from scratch on synthetic organoids, labels only and guided.

    python benchmarks/detectron2_tiny.py --out runs/detectron2_tiny --table docs/benchmarks.md

Under --out: `world/` (the images, drawn from their numbers, the same on every machine), `runs/` (each training, and
what `organoseg predict` found with the model that it left), and the table. Both methods take the same number of
optimiser steps, and a guided run's first teacher is the supervised model of its seed. Each seed has labelled images of
its own; validation, unlabelled and test images are the same for all. What is there is not done again: a benchmark that
was killed goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.costs import cost_of
from benchmarks.few_label_table import few_label_table
from benchmarks.figures import Resampled, rows_of
from benchmarks.machine import ROOT, describe_machine
from benchmarks.one_run import train_run
from benchmarks.runs import Run, base_tree, check_same
from benchmarks.tables import run_program
from organoseg.core import RunError, read_json, write_json, write_text
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.io import read_instances, write_instances
from organoseg.training.recipe import Recipe, load_recipe

RECIPE = ROOT / "configs" / "detectron2_tiny.yaml"
SPEC = SyntheticSpec(size=128, count=(3, 8), radius=(6, 20), overlap=0.3)
#: Images of each part.
PARTS = {"labelled": 6, "validation": 12, "test": 48, "unlabelled": 60}
#: What evaluation may see of a model; below this it would only count noise.
LOWEST_SCORE = 0.05


# -- the world -------------------------------------------------------------------------------------


def make_world(out: Path, seeds: Iterable[int]) -> Path:
    """`world/` with a folder of PNG and a COCO file for each part; what is there stays."""
    world = out / "world"
    for seed in seeds:
        _make_part(world, f"labelled-{seed}", "labelled", (1, seed))
    for number, part in enumerate(("validation", "test", "unlabelled"), start=2):
        _make_part(world, part, part, (number,))
    return world


def _make_part(world: Path, name: str, part: str, numbers: tuple[int, ...]) -> None:
    """One part, drawn from numbers that no other part has."""
    from PIL import Image as Pillow

    folder = world / name
    if folder.exists():
        return
    made = world / f".{name}"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    items = [make_image((*numbers, k), SPEC, f"{part}_{k:03d}.png") for k in range(PARTS[part])]
    for item in items:
        Pillow.fromarray(item.image.plane()).save(made / item.name)
    if part != "unlabelled":
        write_instances(world / f"{name}.json", [(i.name, i.instances) for i in items])
    made.rename(folder)  # only when all of it is there


# -- the runs --------------------------------------------------------------------------------------


def plan(out: Path, seeds: Iterable[int]) -> list[Run]:
    """Both methods of each seed, the teacher first."""
    runs = []
    for seed in seeds:
        first = Run(PARTS["labelled"], "supervised", seed, _folder(out, "supervised", seed))
        runs += [first, Run(first.labelled, "guided", seed, _folder(out, "guided", seed), (first,))]
    return runs


def _folder(out: Path, method: str, seed: int) -> Path:
    return out / "runs" / method / f"seed-{seed}"


def recipe_of(run: Run, world: Path, args: argparse.Namespace) -> Recipe:
    """The tiny recipe on this world; a guided run differs from a supervised one in `method` and `unlabelled` alone."""
    tree: dict[str, Any] = {"seed": run.seed, **base_tree(args.recipe, run.method)}
    tree["data"] = {
        "labelled": _labelled(world, f"labelled-{run.seed}"),
        "validation": _labelled(world, "validation"),
    }
    for teacher in run.needs:
        tree["data"]["unlabelled"] = str(world / "unlabelled")
        tree["method"]["teacher"] = str(teacher.model)
    tree["training"] |= {"steps": args.steps, "threads": args.threads, "keep": 1}
    tree["training"] |= {"validate_every": max(args.steps // 3, 1)}
    path = run.folder / "asked.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, yaml.safe_dump(tree))
    chosen = [o for o in args.overrides if run.needs or not o.startswith("method.")]
    return load_recipe(path, chosen)


def _labelled(world: Path, name: str) -> dict[str, str]:
    return {"annotations": str(world / f"{name}.json"), "images": str(world / name)}


def do(run: Run, world: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Train where that is not done, predict and evaluate with the command line: the run's figures."""
    recipe = recipe_of(run, world, args)
    check_same(run, recipe)
    known = run.folder / "figures.json"
    if run.trained and known.is_file():
        say(f"done before: {run.method}, seed {run.seed}")
        return dict(read_json(known))
    say(f"training: {run.method}, seed {run.seed}")
    train_run(run, recipe)
    say(f"predicting: {run.method}, seed {run.seed}")
    figures = {part: measure(run, part, world, args.threads) for part in ("model", "student")}
    record = {**_facts(run, recipe), **figures["model"], "student": figures["student"]}
    write_json(known, record)
    return record


def measure(run: Run, part: str, world: Path, threads: int) -> dict[str, Any]:
    """`organoseg predict` with a model folder, then `organoseg evaluate`, as a user would."""
    found = run.folder / f"predicted-{part}"
    shutil.rmtree(found, ignore_errors=True)  # of a model that was trained anew
    score = ["--score-threshold", str(LOWEST_SCORE), "--threads", str(threads)]
    model = ["--model", str(run.training / part), "--out", str(found), "--write", "json"]
    organoseg("predict", str(world / "test"), *model, *score, "--progress", "none")
    files = ["--predictions", str(found / "instances.json")]
    files += ["--ground-truth", str(world / "test.json")]
    figures: dict[str, Any] = json.loads(organoseg("evaluate", *files, "--json"))
    return figures


def organoseg(*words: str) -> str:
    """What a command says on stdout. RunError with its own words when it fails."""
    path = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)}
    command = [sys.executable, "-m", "organoseg.cli.main", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise RunError(f"organoseg {words[0]} failed: {done.stderr.strip()}", where=words[1])
    return done.stdout


def _facts(run: Run, recipe: Recipe) -> dict[str, Any]:
    result = read_json(run.training / "result.json")
    taught = [read_json(teacher.training / "result.json") for teacher in run.needs]
    return {
        "labelled": run.labelled,
        "labelled_images": result["labelled_images"],
        "unlabelled_images": result["unlabelled_images"],
        "method": run.method,
        "variant": run.method,
        "training_seed": run.seed,
        "steps": recipe.training.steps,
        "seconds": result["seconds"]["train"],
        "teacher_seconds": sum(t["seconds"]["train"] for t in taught) if taught else None,
        "notes": result["notes"],
        "cost": cost_of(run.training),
        "threads": recipe.training.threads,
        "machine": describe_machine(),
    }


# -- the table -------------------------------------------------------------------------------------


def show(result: dict[str, Any]) -> str:
    """The two tables of few labels, and what the world is."""
    out = Path(result["out"])
    records = [
        (r, _folder(out, r["method"], r["training_seed"]) / "predicted-model" / "instances.json")
        for r in result["runs"]
    ]
    resampled = Resampled(read_instances(out / "world" / "test.json"), result["bootstrap"])
    world = (
        f"- Synthetic organoids, images of {SPEC.size} px: {PARTS['labelled']} labelled (others for each seed), "
        f"{PARTS['validation']} for validation, {PARTS['unlabelled']} unlabelled, {PARTS['test']} for the test. "
        "The figures say that the engine works, not how it does on real organoids. Models were read back from their "
        "folders and measured with `organoseg predict` and `organoseg evaluate`."
    )
    table = few_label_table(rows_of(records), (), resampled, result["command"])
    return f"{table.replace('`results.json`', '`detectron2_tiny.json`')}\n{world}"


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """All runs, one after the other."""
    out = args.out.resolve()
    world = make_world(out, args.seeds)
    runs = [do(run, world, args) for run in plan(out, args.seeds)]
    return {"out": str(out), "bootstrap": args.bootstrap, "runs": runs}


def say(text: str) -> None:
    """A line for whoever watches."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The program. Exit codes: 0, 1 run, 2 use, 3 data."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--seeds", type=lambda text: tuple(map(int, text.split(","))), default=(0, 1, 2))
    add("--steps", type=int, default=200, help="optimiser steps of each method")
    add("--recipe", type=Path, default=RECIPE, help="its model, method and training are taken")
    add("--threads", type=int, default=1)
    add("--bootstrap", type=int, default=1000, help="resamplings for intervals")
    add("--set", dest="overrides", metavar="A.B=C", action="append", default=[],
        help="change the recipe; method.… changes guided runs only")  # fmt: skip
    return run_program("detectron2_tiny", words, parser, compare, show)


if __name__ == "__main__":
    sys.exit(main())
