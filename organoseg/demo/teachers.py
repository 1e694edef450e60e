"""How good the teachers of the guided run were, where it can be known: on drawn images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from organoseg.core import Instances
from organoseg.distill.pool import load_pool
from organoseg.evaluation import evaluate


@dataclass(frozen=True)
class Teacher:
    """A teacher's proposals on the unlabelled images against what was drawn there.

    stage: the one it labelled the archive for (`burn_in` the first teacher, `mutual` the second);
    ap: mask AP; precision, recall, recall_overlapping: at IoU .5 and the score where F1 is highest.
    """

    stage: str
    ap: float
    precision: float
    recall: float
    recall_overlapping: float


def judge_teachers(run: Path, hidden: Mapping[str, Instances]) -> list[Teacher]:
    """Every teacher whose proposals the run kept; `hidden` has the true outlines by image name."""
    found = []
    for path in sorted((run / "pseudo_labels").glob("*.json")):
        pool = load_pool(path)
        proposed = dict(zip(pool.names, pool.instances, strict=True))
        truth = {name: hidden[name] for name in proposed}
        result = evaluate(proposed, truth, bootstrap=0)
        point = result.best
        found.append(
            Teacher(path.stem, result.ap, point.precision, point.recall, point.recall_overlapping)
        )
    return found
