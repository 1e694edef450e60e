"""Few labels: supervised training and the methods with an archive, at equal optimiser steps, on M-OrgaQuant.

    python benchmarks/few_label.py --data ../shared/data/m_orgaquant --labelled 5,15 --out runs/few_label

Under --out: `archive/` (the unlabelled images, made once), `runs/` (each trained model, its log,
figures and predictions), `results.json`, `table.md`. What is there is not done again: a benchmark
that was killed goes on.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.few_label_table import few_label_table
from benchmarks.figures import COLUMNS, Resampled, rows_of
from benchmarks.jobs import run_all
from benchmarks.machine import describe_machine, shown_command
from benchmarks.peers import Peer, measure_peer, parse_peer
from benchmarks.runs import (
    SHIFT_TO,
    TEACHERS,
    Plan,
    Run,
    check_same,
    measured,
    plan_runs,
    recipe_of,
)
from benchmarks.tables import replace_block
from benchmarks.testset import TestSet, choose_test_set
from organoseg.core import DataError, OrganosegError, write_json, write_text

DEFAULT_METHODS = ("supervised", "guided")


@dataclass(frozen=True)
class Job:
    """All that one call of the program is about."""

    plan: Plan
    test: TestSet
    jobs: int
    bootstrap: int
    peers: tuple[Peer, ...]
    table: Path | None
    block: str
    command: str


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(int(part) for part in text.split(",")))


def _methods(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(text.split(",")))
    if not set(chosen) <= set(TEACHERS):
        raise argparse.ArgumentTypeError(f"choose from {', '.join(TEACHERS)}")
    return chosen


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with train/, val/, test/ and their labels")
    add("--labelled", type=_numbers, default=(5, 15, 60), help="5, 15, 30 or 60; several: 5,15")
    add("--methods", type=_methods, default=DEFAULT_METHODS, help=",".join(TEACHERS))
    add("--seeds", type=_numbers, default=(0, 1, 2), help="0,1,2")
    add("--out", type=Path, required=True, help="folder for models and results")
    add("--steps", type=int, help="optimiser steps of each method (default: the recipe's)")
    add(
        "--shift", action="store_true", help="labels of Subset_2 to 5, archive and test of Subset_1"
    )
    add("--images", type=Path, help="folder of another test set")
    add("--annotations", type=Path, help="COCO labels of another test set")
    add(
        "--test-split",
        metavar="KEY",
        help="test on these names of few_label_splits.json: validation",
    )
    add(
        "--recipe",
        type=Path,
        help="start from this recipe's model, method and training: another engine",
    )
    add(
        "--validation",
        metavar="KEY",
        help="validate on these names of few_label_splits.json while training",
    )
    add("--encoder-weights", help="file of pre-trained weights, or a published name")
    add("--threads", type=int, help="threads a training (default: 1 with --jobs, else all)")
    add("--jobs", type=int, default=1, help="trainings side by side")
    add("--set", dest="overrides", metavar="A.B=C", action="append", default=[],
        help="change the recipe; method.… changes runs with an archive only")  # fmt: skip
    add(
        "--variant",
        help="name for the runs of one method with other settings, beside the same supervised ones",
    )
    add("--teacher-from-supervised", action=argparse.BooleanOptionalAction, default=True,
        help="first teachers are the supervised models of the same seed and of the next")  # fmt: skip
    add("--peer", metavar="NAME=JSON", action="append", default=[],
        help="another program's predictions on the test set")  # fmt: skip
    add("--bootstrap", type=int, default=1000, help="resamplings for intervals")
    add("--table", type=Path, metavar="FILE.md", help="rewrite the marked block of this file")
    add("--block", help="the block's mark (default: few-label, shift, and the recipe's name)")
    return parser


def parse_job(arguments: Sequence[str]) -> Job:
    """What the command line asks for. UsageError or DataError for what cannot be."""
    parser = make_parser()
    args = parser.parse_args(arguments)
    for name in ("jobs", "threads", "steps"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be 1 or more")
    if (args.images is None) != (args.annotations is None):
        parser.error("--images and --annotations go together")
    if args.variant in TEACHERS:
        parser.error("--variant must be a new name")
    if args.variant and len(set(args.methods) - {"supervised"}) != 1:
        parser.error("--variant needs --methods with one method beside supervised")
    weights = args.encoder_weights
    if weights is not None and Path(weights).is_file():
        weights = str(Path(weights).resolve())
    plan = Plan(
        data=args.data.resolve(),
        out=args.out.resolve(),
        labelled=args.labelled,
        methods=args.methods,
        seeds=args.seeds,
        steps=args.steps,
        shift=args.shift,
        encoder_weights=weights,
        threads=args.threads or (1 if args.jobs > 1 else None),
        overrides=tuple(args.overrides),
        variant=args.variant,
        teacher_from_supervised=args.teacher_from_supervised,
        base=args.recipe.resolve() if args.recipe else None,
        validation=args.validation,
    )
    words = SHIFT_TO if args.shift and args.images is None else ()
    test = choose_test_set(plan.data, args.annotations, args.images, args.test_split, words)
    peers = tuple(map(parse_peer, args.peer))
    command = shown_command("few_label.py", arguments)
    block = args.block or plan.protocol
    return Job(plan, test, args.jobs, args.bootstrap, peers, args.table, block, command)


def prepare(job: Job) -> tuple[list[Run], list[Run]]:
    """Check everything, write each run's recipe and spec: the runs to do, and those that are done.

    UsageError before anything is written, when a recipe is faulty or a run is there with other settings.
    """
    runs = plan_runs(job.plan)
    recipes = {run: recipe_of(job.plan, run) for run in runs}
    for run, recipe in recipes.items():
        check_same(run, recipe)
    done = [run for run in runs if measured(run, job.test.key)]
    todo = [run for run in runs if run not in done]
    for run in todo:
        _write_spec(job, run, recipes[run])
    return todo, done


def _write_spec(job: Job, run: Run, recipe: Any) -> None:
    from organoseg.training.recipe import dump_recipe

    run.folder.mkdir(parents=True, exist_ok=True)
    write_text(run.folder / "recipe.yaml", dump_recipe(recipe))
    spec = {
        "protocol": job.plan.protocol,
        "labelled": run.labelled,
        "method": run.method,
        "seed": run.seed,
        "needs": [{"seed": r.seed, "folder": str(r.folder)} for r in run.needs],
        "overrides": list(job.plan.overrides),
        "test": job.test.to_dict(),
        "bootstrap": job.bootstrap,
        "command": job.command,
    }
    write_json(run.folder / "spec.json", spec)


def make_archive(job: Job) -> None:
    """The unlabelled images, once; refused when a test image is among them."""
    from organoseg.archive import Archive, create_archive

    path = job.plan.archive
    if not path.exists():
        say(f"archive: storing {job.plan.data / 'train'}")
        create_archive([job.plan.data / "train"], path)
    stored = {entry.pixel_hash: entry.name for entry in Archive.open(path).entries}
    both = sorted({stored[i.image.identity] for i in job.test.load() if i.image.identity in stored})
    if both:
        raise DataError(
            f"{len(both)} test images are among the unlabelled ones: {', '.join(both[:5])}",
            where=path,
            remedy="Take them out of train/ and remove the archive.",
        )


def check_leakage(job: Job) -> None:
    """Refuse a test set that shares a picture with the labelled images."""
    from benchmarks.runs import labelled_names
    from organoseg.dataset import load_coco
    from organoseg.dataset.duplicates import leakage

    names = labelled_names(job.plan, max(job.plan.labelled))
    trained = load_coco(job.plan.data / "instances_val.json", job.plan.data / "val", names)
    pairs = leakage((i.image for i in trained), (i.image for i in job.test.load()))
    if pairs:
        raise DataError(
            f"{len(pairs)} images are both labelled and tested on: {', '.join(a for a, _ in pairs[:5])}",
            where=job.test.annotations,
            remedy="Choose another test set or fewer labels.",
        )


def finished(job: Job) -> Iterator[tuple[dict[str, Any], Path]]:
    """Every run under --out that is measured on this test set, of this call or of earlier ones."""
    root = job.plan.out / "runs" / job.plan.protocol
    for path in sorted(root.glob(f"labelled_*/*/seed-*/figures-{job.test.key}.json")):
        seed = int(path.parent.name.removeprefix("seed-"))
        labelled = int(path.parts[-4].removeprefix("labelled_"))
        record = measured(Run(labelled, "", seed, path.parent), job.test.key)
        if record is not None:
            yield record, path.with_name(f"predictions-{job.test.key}.json")


def report(job: Job) -> str:
    """Write results.json and table.md from what is finished; returns the table."""
    records = list(finished(job))
    rows = rows_of(records)
    peers = [measure_peer(peer, job.test, job.bootstrap) for peer in job.peers]
    truth = {item.image.name: item.instances for item in job.test.load()}
    resampled = Resampled(truth, job.bootstrap)
    summary = [
        {
            "labelled": row.labelled,
            "variant": row.name,
            "seeds": row.seeds,
            **{c: s.to_list() if (s := row.spread(c)) else None for c in COLUMNS},
            "student_AP": s.to_list() if (s := row.spread("AP", "student")) else None,
            "AP_interval": _pair(resampled.mean_interval(row.predictions)),
        }
        for row in rows
    ]
    tree = {
        "command": job.command,
        "protocol": job.plan.protocol,
        "test": job.test.to_dict(),
        "machine": describe_machine(),
        "summary": summary,
        "peers": peers,
        "runs": [record for record, _ in records],
    }
    kind = job.plan.protocol.removeprefix("few-label")
    write_json(job.plan.out / f"results{'-' if kind else ''}{kind.lstrip('-')}.json", tree)
    table = few_label_table(rows, peers, resampled, job.command)
    write_text(job.plan.out / f"table-{job.plan.protocol}.md", table + "\n")
    return table


def _pair(interval: Any) -> list[float]:
    return [interval.low, interval.high]


def say(text: str) -> None:
    """A line for whoever watches."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """The program. Exit codes: 0, 1 when a run failed, 2 use, 3 data."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        job = parse_job(arguments)
        check_leakage(job)
        todo, done = prepare(job)
        say(f"{len(todo)} runs to do, {len(done)} done already")
        if any(run.method != "supervised" for run in todo):
            make_archive(job)
        failed = run_all(todo, set(done), job.jobs, job.plan.threads, say)
        table = report(job)
        print(table)
        if job.table is not None and not failed:
            replace_block(job.table, job.block, table)
    except OrganosegError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("stopped; the same command goes on")
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
