"""What a step of guided distillation costs beside a supervised one, and how long data are waited for.

    python benchmarks/step_cost.py --data ../shared/data/m_orgaquant --teacher runs/.../model \
        --out runs/step_cost --table docs/benchmarks.md

One process, the same labelled batch; the two loops take turns in blocks of a few steps, so that whatever
else the machine does meets both. The teacher has to be a trained one: an untrained one finds nothing, and
nothing costs nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.runs import Plan, Run, recipe_of
from benchmarks.tables import markdown, origin, run_program

#: Steps of one turn. Batches are made two steps ahead, in the other's turn too: the first two are not
#: counted as waiting, which would flatter.
BLOCK, AHEAD = 6, 2


@dataclass
class Steps:
    """Seconds of each step and of waiting in it, by phase."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    waited: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def median(self, phase: str) -> float:
        """Seconds of a step."""
        return float(np.median(self.seconds[phase]))

    def waiting_share(self) -> float:
        """Share of the time of steps that was spent waiting for a batch."""
        pairs = np.array([pair for pairs in self.waited.values() for pair in pairs])
        return float(pairs[:, 1].sum() / pairs[:, 0].sum()) if len(pairs) else float("nan")


class Runner:
    """One run, driven step by step."""

    def __init__(self, recipe: Any, out: Path) -> None:
        import torch
        from accelerate import Accelerator

        from organoseg.models.precision import use_bf16
        from organoseg.training.ahead import Prefetch
        from organoseg.training.data import load_data
        from organoseg.training.loop import Loop
        from organoseg.training.progress import Journal, silent

        torch.manual_seed(recipe.seed)
        precision = "bf16" if use_bf16("auto", torch.device("cpu")) else "no"
        accelerator = Accelerator(cpu=True, mixed_precision=precision)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        self.loop = Loop(recipe, load_data(recipe), out, accelerator, silent, {})
        self.feed, self.journal = Prefetch(self.loop._labelled), Journal(out)
        self.steps, self.done = Steps(), 0
        self.precision = precision

    def turn(self, skip: int) -> None:
        """A block of steps; the first ``skip`` steps of each phase are warm-up."""
        for place in range(BLOCK):
            before = self._waited()
            start = perf_counter()
            # The loop's own step: a copy of it here would soon measure something else.
            self.loop._one(self.done, self.feed, self.journal)
            seconds, waited = perf_counter() - start, self._waited() - before
            phase = str(self.loop.stages.phase(self.done))
            self._note(phase, place, seconds, waited, skip)
            if self.done == 0:
                self._skip_learning()
            self.done += 1

    def _skip_learning(self) -> None:
        """A guided student starts as its teacher: one that finds nothing yet would make cheap labels."""
        from organoseg.distill.weights import copy_weights

        state = self.loop.state
        if state.facts.student:
            for module in (state.student, state.average):
                if module is not None:
                    copy_weights(module, state.teacher)

    def _note(self, phase: str, place: int, seconds: float, waited: float, skip: int) -> None:
        position = self.done - self.loop.schedule.start(self.loop.stages.phase(self.done))
        if position < skip:
            return
        self.steps.seconds.setdefault(phase, []).append(seconds)
        if place >= AHEAD:
            self.steps.waited.setdefault(phase, []).append((seconds, waited))

    def _waited(self) -> float:
        return self.feed.waited + self.loop.stages.waited

    def close(self) -> None:
        """End its threads."""
        self.feed.close()
        self.loop.stages.close()
        self.journal.close()


def positive(text: str) -> int:
    """A whole number of 1 or more, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Both runs, turn by turn; all figures."""
    import torch

    if args.encoder_weights is not None and Path(args.encoder_weights).is_file():
        args.encoder_weights = str(Path(args.encoder_weights).resolve())
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    blocks = -(-(args.warmup + args.steps) // BLOCK)
    recipes, usual = _recipes(args, 2 * blocks * BLOCK)
    runners = {name: Runner(recipe, args.out / name) for name, recipe in recipes.items()}
    labelling, each = Labelling(runners["guided"], usual), -(-args.pool // blocks)
    try:
        for number in range(2 * blocks):
            order = ("supervised", "guided") if number % 2 == 0 else ("guided", "supervised")
            for name in order:
                runners[name].turn(args.warmup)
            # In the first stage: afterwards the teacher is another one.
            if number < blocks:
                labelling.turn(range(number * each, (number + 1) * each))
            print(f"{number + 1} of {2 * blocks} turns", file=sys.stderr, flush=True)
    finally:
        for runner in runners.values():
            runner.close()
    guided, supervised = runners["guided"].steps, runners["supervised"].steps
    return {
        "threads": args.threads,
        "precision": runners["guided"].precision,
        "batch": usual.training.batch,
        "unlabelled_batch": usual.method.unlabelled_batch or usual.training.batch,
        "counted": {phase: len(values) for phase, values in guided.seconds.items()},
        "supervised": supervised.median("teacher"),
        **{phase: guided.median(phase) for phase in guided.seconds},
        "waiting_share": {
            "supervised": supervised.waiting_share(),
            "guided": guided.waiting_share(),
        },
        **labelling.figures(),
    }


def _recipes(args: argparse.Namespace, steps: int) -> tuple[dict[str, Any], Any]:
    """Recipes of both runs, with all phases and a small pool; and the guided one as it usually is."""
    from organoseg.archive import create_archive

    plan = Plan(
        data=args.data.resolve(),
        out=args.out.resolve(),
        labelled=(args.labelled,),
        methods=("supervised", "guided"),
        seeds=(0,),
        encoder_weights=args.encoder_weights,
        threads=args.threads,
        overrides=(*args.overrides, f"method.teacher={args.teacher.resolve()}"),
    )
    if not plan.archive.exists():
        create_archive([plan.data / "train"], plan.archive)
    usual = recipe_of(plan, Run(args.labelled, "guided", 0, args.out))
    short = usual.model_dump(mode="json")
    short["training"]["steps"] = steps
    short["method"] |= {"burn_in": 0.5, "refine": 0.0, "guard": False}
    short["method"]["pool"] = min(args.pool, usual.method.pool)  # type: ignore[union-attr]
    supervised = recipe_of(plan, Run(args.labelled, "supervised", 0, args.out))
    plain = supervised.model_dump(mode="json")
    plain["training"]["steps"] = steps
    kind = type(usual)
    return {"supervised": kind.model_validate(plain), "guided": kind.model_validate(short)}, usual


class Labelling:
    """The first teacher labels images of the archive, a few a turn."""

    def __init__(self, runner: Runner, usual: Any) -> None:
        self._loop, self._usual, self.seconds = runner.loop, usual, list[float]()

    def turn(self, images: range) -> None:
        """Label these images of the archive and note how long each took."""
        from organoseg.distill.labeller import Labeller
        from organoseg.distill.pool import label_pool
        from organoseg.training import plan

        method, source, state = self._usual.method, self._loop.data.unlabelled, self._loop.state
        if not method.pool or source is None:
            return
        labeller = Labeller(plan.filter_of(method, None), method.pool_zooms)
        teacher: Any = state.teacher.eval()
        autocast = self._loop.accelerator.autocast
        known = source.draw(images.stop, part=0)
        for number in images:
            some = (known[number % len(known)],)
            start = perf_counter()
            label_pool(labeller, teacher, source, some, state.device, autocast)
            self.seconds.append(perf_counter() - start)

    def figures(self) -> dict[str, Any]:
        """Seconds of labelling in a run as the recipe has it."""
        method, steps = self._usual.method, self._usual.training.steps
        if not self.seconds:
            return {"pool": 0, "usual_steps": steps, "labelling": 0.0}
        times = 2 if method.relabel and method.burn_in + method.refine < 1 else 1
        return {
            "pool": method.pool,
            "pool_measured": len(self.seconds),
            "pool_views": len(method.pool_zooms),
            "usual_steps": steps,
            "labelling": float(np.median(self.seconds)) * method.pool * times,
        }


def cost_table(result: dict[str, Any]) -> str:
    """The block of docs/benchmarks.md."""
    base = result["supervised"]
    phases = [phase for phase in ("burn_in", "mutual") if phase in result]
    spread = result["labelling"] / result["usual_steps"]
    whole = float(np.mean([result[phase] for phase in phases])) + spread
    lines = [("supervised", base)]
    lines += [(f"guided, {phase.replace('_', '-')}", result[phase]) for phase in phases]
    if result["pool"]:
        lines.append(("guided, with its share of labelling the archive", whole))
    rows = [[name, f"{seconds:.3f}", f"{seconds / base:.2f}"] for name, seconds in lines]
    table = markdown(("step", "seconds", "times a supervised step"), rows)
    return "\n".join([table, "", *_foot(result)])


def _foot(result: dict[str, Any]) -> list[str]:
    waiting = result["waiting_share"]
    lines = [
        f"- Medians of at least {min(result['counted'].values())} steps, {result['batch']} labelled crops a step "
        f"and, guided, {result['unlabelled_batch']} unlabelled ones; turns of {BLOCK} steps in one process, "
        f"{result['threads']} threads, {'bfloat16' if result['precision'] == 'bf16' else 'float32'}.",
        f"- Waiting for data: {waiting['supervised']:.1%} of a supervised step, "
        f"{waiting['guided']:.1%} of a guided one.",
    ]
    if result["pool"]:
        lines.append(
            f"- Labelling the archive: {result['pool']} images in {result['pool_views']} views in all its stages "
            f"{result['labelling']:.0f} s (measured on {result['pool_measured']} images), "
            f"spread over the recipe's {result['usual_steps']} steps."
        )
    return [
        *lines,
        *origin(result),
    ]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder as few_label.py takes it")
    add("--teacher", type=Path, required=True, help="folder of a trained model")
    add("--labelled", type=int, default=15, help="5, 15, 30 or 60")
    add("--steps", type=positive, default=30, help="steps measured in each phase, at least")
    add("--warmup", type=positive, default=6, help="steps of each phase that are not measured")
    add(
        "--pool",
        type=positive,
        default=20,
        help="images of the archive to label, to see what that costs",
    )
    add("--threads", type=positive, default=2)
    add("--encoder-weights", help="file of pre-trained weights, or a published name")
    add("--set", dest="overrides", metavar="A.B=C", action="append", default=[],
        help="change the recipe; method.… changes the guided run only")  # fmt: skip
    return parser


def main(arguments: Sequence[str]) -> int:
    """The program."""
    # Before torch is loaded: threads that spin between turns would slow everything down.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return run_program("step_cost", arguments, make_parser(), measure, cost_table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
