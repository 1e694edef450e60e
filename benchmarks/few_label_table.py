"""The few-label benchmark as Markdown: figures, what guidance adds, and what stands behind them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from benchmarks.costs import cost_table
from benchmarks.figures import COLUMNS, GAINS, Gain, Resampled, Row, Spread, gains_of
from benchmarks.machine import machine_line
from benchmarks.tables import markdown, number
from organoseg.evaluation import Interval

HEADERS = (
    "labels",
    "method",
    "AP, mean (range)",
    "95 %",
    "AP50",
    "AP75",
    "mSA",
    "F1",
    "precision",
    "recall",
    "recall overlapping",
    "recall isolated",
    "count error",
    "min",
)
#: Columns of figures from 0 to 1 that stand without an interval.
PLAIN = COLUMNS[1:9]
GAIN_HEADERS = (
    "labels",
    "method",
    "AP gained",
    "95 %, paired",
    "seeds with a gain",
    "recall overlapping",
    "recall isolated",
    "precision",
    "recall",
)


def few_label_table(
    rows: Sequence[Row],
    peers: Sequence[Mapping[str, Any]],
    resampled: Resampled,
    command: str,
) -> str:
    """The whole block: two tables and their foot."""
    lines = [_peer(peer) for peer in peers]
    lines += [_line(row, resampled) for row in rows]
    parts = [markdown(HEADERS, lines)]
    gains = gains_of(rows, resampled)
    if gains:
        parts += ["Minus supervised, seed by seed:"]
        parts += [markdown(GAIN_HEADERS, [_gain(gain) for gain in gains])]
    costs = cost_table(rows)
    if costs:
        parts += ["What it cost, medians of the last stage's steps:", costs]
    parts.append("\n".join(_foot(rows, peers, command)))
    return "\n\n".join(parts)


def _line(row: Row, resampled: Resampled) -> list[str]:
    ap = row.spread("AP")
    seconds = row.spread("seconds")
    images = {run["labelled_images"] for run in row.runs}
    labels = str(row.labelled)
    if images != {row.labelled}:
        labels += f" ({', '.join(map(str, sorted(images)))} used)"
    return [
        labels,
        row.name,
        _with_range(ap, len(row.runs)),
        _interval(resampled.mean_interval(row.predictions)),
        *(_mean(row.spread(column)) for column in PLAIN),
        _mean(row.spread("count_error"), 2),
        "-" if seconds is None else f"{seconds.mean / 60:.1f}",
    ]


def _peer(peer: Mapping[str, Any]) -> list[str]:
    spread = peer["intervals"].get("AP")
    return [
        "-",
        f"{peer['name']}, as published",
        number(peer["AP"]),
        "-" if spread is None else _interval(Interval(*spread)),
        *(number(peer[column]) for column in PLAIN),
        number(peer["count_error"], 2),
        "-",
    ]


def _gain(gain: Gain) -> list[str]:
    return [
        str(gain.labelled),
        gain.name,
        _signed(gain.ap),
        f"{_signed(gain.interval.low)} to {_signed(gain.interval.high)}",
        f"{gain.higher} of {len(gain.seeds)}",
        *(_signed(gain.others.get(column)) for column in GAINS),
    ]


def _foot(rows: Sequence[Row], peers: Sequence[Mapping[str, Any]], command: str) -> list[str]:
    lines = []
    runs = [run for row in rows for run in row.runs]
    if runs:
        first = runs[0]
        steps = ", ".join(str(s) for s in sorted({run["steps"] for run in runs}))
        seeds = ", ".join(str(s) for s in sorted({run["training_seed"] for run in runs}))
        machines = sorted({machine_line(run["machine"]) for run in runs})
        commits = sorted({run["machine"]["commit"] for run in runs})
        lines += [
            f"- {first['images']} test images, {first['organoids']} organoids, "
            f"{first['overlapping_organoids']} of them overlapping.",
            f"- Optimiser steps of the model measured: {steps}, {_equality(runs)}; seeds {seeds}. "
            + _validated(runs),
            f"- {_teachers(runs)}",
            *_variants(runs),
            "- The model measured is the student's running average; `results.json` has its raw weights as well. "
            "95 %: bootstrap over the test images, of the mean over seeds.",
            "- Precision, recall, F1, mSA and count error are at the score with the best F1; recall of overlapping "
            "(over 10 % of the area) and isolated organoids counts all predictions, IoU .5.",
            f"- Machine: {'; '.join(machines)}; {_threads(runs)}. Commit {', '.join(commits)}.",
        ]
    return [*lines, *_id_note([*runs, *peers]), f"- `{command}`"]


def _variants(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the rows that are not called by their method's name have changed."""
    changed = {
        run["variant"]: run.get("overrides") or _overrides(run["command"])
        for run in runs
        if run["variant"] not in (run["method"], "supervised")
    }
    said = [f"`{name}`: {', '.join(settings)}" for name, settings in sorted(changed.items())]
    return [f"- Changed: {'; '.join(said)}."] if said else []


def _overrides(command: str) -> list[str]:
    words = shlex.split(command)
    return [after for word, after in pairwise(words) if word == "--set"]


def _validated(runs: Sequence[Mapping[str, Any]]) -> str:
    if any(run.get("cost", {}).get("curve") for run in runs):
        return "The AP while training is on validation images, which choose the score and the switch of a guided run."
    return "No validation images were used."


def _equality(runs: Sequence[Mapping[str, Any]]) -> str:
    pairs = {(run["labelled"], run["steps"]) for run in runs}
    equal = len(pairs) == len({run["labelled"] for run in runs})
    return "the same for all" if equal else "NOT the same for all runs of a number of labels"


def _teachers(runs: Sequence[Mapping[str, Any]]) -> str:
    taught = [run for run in runs if run["method"] != "supervised"]
    if not taught:
        return "Minutes: training alone."
    if any(run["teacher_seconds"] is not None for run in taught):
        both = ", and of the next seed where two teach" * any(
            run["method"] == "mutual" for run in taught
        )
        return (
            f"First teachers are the supervised model of a run's seed{both}; minutes are the student's alone, "
            "and of both students where there are two."
        )
    return "A run with an archive trains its own first teacher; its minutes are of both."


def _threads(runs: Sequence[Mapping[str, Any]]) -> str:
    counts = sorted({run["threads"] or 0 for run in runs})
    words = ["all threads" if n == 0 else f"{n} thread{'s' if n > 1 else ''}" for n in counts]
    return f"{' or '.join(words)} a run"


def _id_note(records: Sequence[Mapping[str, Any]]) -> list[str]:
    spoilt = [r["AP_ids_from_1"] - r["AP"] for r in records if "AP_ids_from_1" in r]
    if not spoilt:
        return []
    return [
        "- The labels hold an annotation with id 0, and pycocotools takes a match with it for none. AP, AP50 and AP75 "
        "are what it reads from the file as it is; their intervals are of annotations numbered from 1, where a "
        f"row's AP is higher by up to {number(max(spoilt), 4)}."
    ]


def _with_range(spread: Spread | None, count: int) -> str:
    if spread is None:
        return "-"
    text = f"**{number(spread.mean)}**"
    return text if count == 1 else f"{text} ({number(spread.low)} to {number(spread.high)})"


def _mean(spread: Spread | None, digits: int = 3) -> str:
    return number(spread.mean if spread else None, digits)


def _interval(value: Interval) -> str:
    return f"{number(value.low)} to {number(value.high)}"


def _signed(value: float | None) -> str:
    text = number(value)
    return text if text.startswith("-") else f"+{text}"
