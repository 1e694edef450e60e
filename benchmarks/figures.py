"""From single runs to means over seeds, with intervals over images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runs import TEACHERS
from organoseg.core import Instances
from organoseg.evaluation import Interval
from organoseg.evaluation.average_precision import precision_by_threshold, rank
from organoseg.evaluation.bootstrap import interval, resamplings
from organoseg.evaluation.matching import match_all

#: Figures of a row, by their names in an evaluation.
COLUMNS = (
    "AP",
    "AP50",
    "AP75",
    "mSA",
    "F1",
    "precision",
    "recall",
    "recall_overlapping",
    "recall_isolated",
    "count_error",
    "seconds",
)
#: Of them, those whose change by guidance is shown.
GAINS = ("recall_overlapping", "recall_isolated", "precision", "recall")
Found = Mapping[str, Instances]


@dataclass(frozen=True)
class Spread:
    """Mean, lowest and highest of a figure over seeds."""

    mean: float
    low: float
    high: float

    @staticmethod
    def of(values: Iterable[float | None]) -> Spread | None:
        """None when a run lacks the figure."""
        listed = list(values)
        known = [v for v in listed if v is not None]
        if not known or len(known) < len(listed):
            return None
        return Spread(float(np.mean(known)), min(known), max(known))

    def to_list(self) -> list[float]:
        """For JSON: mean, lowest, highest."""
        return [self.mean, self.low, self.high]


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the table: a method at a number of labels, over its seeds."""

    labelled: int
    name: str
    runs: tuple[Mapping[str, Any], ...]
    predictions: tuple[Path, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its runs, in order."""
        return tuple(run["training_seed"] for run in self.runs)

    def spread(self, column: str, part: str | None = None) -> Spread | None:
        """A figure over the seeds; `part="student"` of the raw weights."""
        return Spread.of((run[part] if part else run).get(column) for run in self.runs)


def rows_of(records: Sequence[tuple[Mapping[str, Any], Path]]) -> list[Row]:
    """Records with their predictions, one row a method and number of labels; each method before its variants."""
    groups: dict[tuple[int, int, bool, str], list[tuple[Mapping[str, Any], Path]]] = {}
    order = list(TEACHERS)
    for record, path in records:
        method, variant = record["method"], record["variant"]
        key = (record["labelled"], order.index(method), variant != method, variant)
        groups.setdefault(key, []).append((record, path))
    rows = []
    for (labelled, _, _, name), members in sorted(groups.items()):
        members.sort(key=lambda member: member[0]["training_seed"])
        runs, paths = zip(*members, strict=True)
        rows.append(Row(labelled, name, runs, paths))
    return rows


class Resampled:
    """AP of predictions under the same draws of images, so that rows can be compared by pairs."""

    def __init__(self, truth: Found, draws: int, seed: int = 0) -> None:
        self._truth = truth
        self._weights = resamplings(len(truth), draws, seed) if draws else None
        self._known: dict[Path, np.ndarray[Any, Any]] = {}

    def _samples(self, path: Path) -> np.ndarray[Any, Any]:
        """float64 (1 + draws,): AP of all images, then of each draw."""
        from organoseg.io import read_instances

        if path not in self._known:
            ranked = rank(match_all(read_instances(path), self._truth))
            draws = [] if self._weights is None else list(self._weights)
            self._known[path] = np.array(
                [precision_by_threshold(ranked, row).mean() for row in (None, *draws)]
            )
        return self._known[path]

    def mean_interval(self, paths: Sequence[Path]) -> Interval:
        """Of the mean AP over the seeds."""
        return interval(np.mean([self._samples(path) for path in paths], axis=0)[1:])

    def gain(self, before: Sequence[Path], after: Sequence[Path]) -> Interval:
        """Of the mean AP of `after` minus that of `before`, seed by seed."""
        pairs = zip(before, after, strict=True)
        change = np.mean([self._samples(b) - self._samples(a) for a, b in pairs], axis=0)
        return interval(change[1:])


@dataclass(frozen=True)
class Gain:
    """What a method adds to supervised training, over the seeds that both have."""

    labelled: int
    name: str
    seeds: tuple[int, ...]
    ap: float
    interval: Interval
    higher: int
    others: Mapping[str, float]


def gains_of(rows: Sequence[Row], resampled: Resampled) -> list[Gain]:
    """Each row against the supervised one of the same labels."""
    supervised = {row.labelled: row for row in rows if row.name == "supervised"}
    gains = []
    for row in rows:
        base = supervised.get(row.labelled)
        if base is not None and row is not base and set(row.seeds) & set(base.seeds):
            gains.append(_gain(base, row, resampled))
    return gains


def _gain(base: Row, row: Row, resampled: Resampled) -> Gain:
    seeds = tuple(seed for seed in row.seeds if seed in base.seeds)
    pairs = [(base.seeds.index(seed), row.seeds.index(seed)) for seed in seeds]

    def changes(column: str) -> list[float]:
        values = [(base.runs[i].get(column), row.runs[j].get(column)) for i, j in pairs]
        return [b - a for a, b in values if a is not None and b is not None]

    known = {column: changes(column) for column in GAINS}
    return Gain(
        labelled=row.labelled,
        name=row.name,
        seeds=seeds,
        ap=float(np.mean(changes("AP"))),
        interval=resampled.gain(
            [base.predictions[i] for i, _ in pairs], [row.predictions[j] for _, j in pairs]
        ),
        higher=sum(change > 0 for change in changes("AP")),
        others={column: float(np.mean(values)) for column, values in known.items() if values},
    )
