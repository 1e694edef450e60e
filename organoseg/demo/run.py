"""The demo from end to end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from organoseg.core import read_json, write_json
from organoseg.dataset import LabelledDataset
from organoseg.demo.data import make_data
from organoseg.demo.folder import PLAN, SUMMARY, prepare
from organoseg.demo.plan import METHODS, DemoPlan
from organoseg.demo.remarks import remarks
from organoseg.demo.work import Outcome, run_method
from organoseg.evaluation import Interval, ap_difference
from organoseg.report import DemoReport, Method, write_demo_report
from organoseg.report.words import verdict

if TYPE_CHECKING:
    from organoseg.training.progress import Reporter

EXPLANATIONS = {
    "supervised": "Learns from the outlined images alone.",
    "guided": "Learns from the outlined images and, guided by the first program, from those "
    "without outlines: a teacher proposes outlines on them, and the student keeps what proves "
    "reliable. The student starts anew and takes as many steps as the first program did.",
}


def run_demo(
    plan: DemoPlan,
    out: Path,
    *,
    force: bool = False,
    say: Callable[[str], None] = lambda text: None,
    new_reporter: Callable[[], Reporter] | None = None,
) -> dict[str, Any]:
    """Draw images, train both methods, evaluate, predict and report, in the folder ``out``.

    ``summary.json`` comes last: where it lies, the demo is whole. ``force`` makes an earlier demo
    anew; ``say`` is told what begins; ``new_reporter`` makes the progress display of a training.

    Returns what ``summary.json`` says. Raises UsageError where ``out`` holds something else,
    RunError where training fails.
    """
    from organoseg.training.progress import silent

    start = perf_counter()
    prepare(out, plan, force)
    say(f"drawing {plan.labelled} labelled, {plan.unlabelled} unlabelled, {plan.test} test images")
    images = make_data(plan, out)
    test = images.test
    outcomes: dict[str, Outcome] = {}
    for method in METHODS:
        say(f"{method} training, {plan.steps} steps")
        reporter = new_reporter() if new_reporter else silent
        outcomes[method] = run_method(method, plan, out, images, reporter)
    say("writing the report")
    gain, spread = _gain(outcomes, test, plan.seed)
    plain, guided = (outcomes[method] for method in METHODS)
    notes = remarks(plan, plain, guided, gain)
    report = _report(plan, test, outcomes, notes, perf_counter() - start)
    write_demo_report(out, report)
    summary = {
        **{method: _figures(outcome) for method, outcome in outcomes.items()},
        "difference": {"AP": _value(gain), "interval": [_value(spread.low), _value(spread.high)]},
        "verdict": verdict(report, gain, spread),
        "remarks": list(notes),
        "seconds": round(perf_counter() - start, 1),
        "steps": plan.steps,
        "seed": plan.seed,
        "plan": read_json(out / PLAN),
        "machine": read_json(out / METHODS[0] / "environment.json"),
    }
    write_json(out / SUMMARY, summary)
    return summary


def _gain(
    outcomes: Mapping[str, Outcome], test: LabelledDataset, seed: int
) -> tuple[float, Interval]:
    plain, guided = (outcomes[method].predictions for method in METHODS)
    truth = {item.name: item.instances for item in test}
    return ap_difference(plain, guided, truth, seed=seed)


def _report(
    plan: DemoPlan,
    test: LabelledDataset,
    outcomes: Mapping[str, Outcome],
    notes: tuple[str, ...],
    seconds: float,
) -> DemoReport:
    methods = [
        Method(
            label=method,
            explanation=EXPLANATIONS[method],
            evaluation=outcome.evaluation,
            predictions=outcome.predictions,
            curve=outcome.log.curve,
            seconds=outcome.seconds,
        )
        for method, outcome in outcomes.items()
    ]
    return DemoReport(
        test=tuple(test),
        methods=methods,
        labelled=plan.labelled,
        unlabelled=plan.unlabelled,
        steps=plan.steps,
        seconds=seconds,
        seed=plan.seed,
        remarks=notes,
    )


def _figures(outcome: Outcome) -> dict[str, Any]:
    log = outcome.log
    return {
        **outcome.evaluation.to_dict(),
        "train_seconds": round(outcome.seconds, 1),
        "curve": [list(point) for point in log.curve],
        "notes": list(log.notes),
        "pseudo_labels": log.pseudo or None,
        "teachers": {
            teacher.stage: {
                name: _value(value) for name, value in asdict(teacher).items() if name != "stage"
            }
            for teacher in outcome.teachers
        },
    }


def _value(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
