"""What the trainings of a table cost, and how their figure rose: read from the folders of the runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Row
from benchmarks.tables import markdown, number
from organoseg.core import read_json

#: A run has learnt what it will learn when it reaches this share of its last AP on validation images.
REACHED = 0.95
HEADERS = (
    "labels",
    "method",
    "AP of the raw student",
    "ms a step",
    "over supervised",
    "crops a second",
    "waiting",
    "GPU memory, GB",
    "GPU busy",
    "AP while training (step)",
    "min to 95 % of it",
)


def cost_of(training: Path) -> dict[str, Any]:
    """Seconds of a step by stage, throughput, memory, and the AP on validation images by step."""
    seconds = read_json(training / "result.json")["seconds"]
    kept = ("step_seconds", "images_per_second", "waiting_share", "gpu_memory_gb", "gpu_busy")
    cost = {name: seconds[name] for name in kept if name in seconds}
    journal = training / "metrics.jsonl"  # of a run of fewer than ten steps there is none
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    facts = [json.loads(line) for line in lines]
    cost["curve"] = [[f["step"], f["AP"]] for f in facts if f["kind"] == "validation" and "AP" in f]
    return cost


def _last_stage(cost: Mapping[str, Any]) -> str:
    """The stage that a run spends its second half in."""
    stages = cost["step_seconds"]
    return next((s for s in ("mutual", "burn_in", "teacher") if s in stages), next(iter(stages)))


def minutes_to(cost: Mapping[str, Any]) -> float | None:
    """Minutes of steps until the AP stays at `REACHED` of its last value; None without validation."""
    curve = cost["curve"]
    if not curve or curve[-1][1] <= 0:
        return None
    enough = REACHED * curve[-1][1]
    late = [step for step, ap in curve if ap < enough]
    first = next(step for step, _ in curve if not late or step > late[-1])
    return float(first * cost["step_seconds"][_last_stage(cost)] / 60)


def cost_table(rows: Sequence[Row]) -> str | None:
    """Markdown, a line a row: means over its seeds. None where no run says what it cost."""
    known = [row for row in rows if all("step_seconds" in run.get("cost", {}) for run in row.runs)]
    if not known:
        return None
    plain = {row.labelled: _step(row) for row in known if row.name == "supervised"}
    return markdown(HEADERS, [_line(row, plain.get(row.labelled)) for row in known])


def _step(row: Row) -> float:
    steps = [run["cost"]["step_seconds"][_last_stage(run["cost"])] for run in row.runs]
    return float(np.mean(steps))


def _line(row: Row, supervised: float | None) -> list[str]:
    costs = [run["cost"] for run in row.runs]
    student = row.spread("AP", "student")
    crops = [c["images_per_second"][_last_stage(c)] for c in costs]
    reached = [m for c in costs if (m := minutes_to(c)) is not None]
    return [
        str(row.labelled),
        row.name,
        number(student.mean if student else None),
        f"{1000 * _step(row):.0f}",
        "-" if supervised is None else f"{_step(row) / supervised:.2f}x",
        f"{np.mean(crops):.1f}",
        _mean(costs, "waiting_share", 100, "{:.1f} %"),
        _mean(costs, "gpu_memory_gb", 1, "{:.1f}"),
        _mean(costs, "gpu_busy", 100, "{:.0f} %"),
        ", ".join(f"{number(ap)} ({step})" for step, ap in costs[0]["curve"]) or "-",
        f"{np.mean(reached):.1f}" if len(reached) == len(costs) else "-",
    ]


def _mean(costs: Sequence[Mapping[str, Any]], name: str, factor: float, shown: str) -> str:
    values = [c[name] for c in costs if name in c]
    return shown.format(factor * float(np.mean(values))) if len(values) == len(costs) else "-"
