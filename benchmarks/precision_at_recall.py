"""Supervised and guided models at one working point: precision at one recall, and overlapping organoids found.

    python benchmarks/precision_at_recall.py --out runs/few_label --ground-truth instances_test.json

Precision at the best F1 compares two models at two recalls. Here both are read at the recall that the
supervised model has at its best F1, on the predictions that `few_label.py` left under --out. Recall of overlapping
organoids is read at each model's own best F1, which is what a user gets; the table of `few_label.py` counts all
predictions.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import markdown, number, replace_block
from organoseg.core import Instances
from organoseg.evaluation import evaluate
from organoseg.evaluation.counts import best_threshold, tallies
from organoseg.evaluation.matching import match_all
from organoseg.io import read_instances

HEADERS = (
    "labels",
    "seeds",
    "recall",
    "precision there, supervised",
    "guided",
    "overlapping found at the best F1, supervised",
    "guided",
)


def curve(found: dict[str, Instances], truth: dict[str, Instances]) -> np.ndarray:
    """(D, 2): recall and precision at IoU .5 as predictions are taken in, best score first."""
    tables = match_all(found, truth)
    scores = np.concatenate([t.scores for t in tables])
    hits = np.concatenate([t.partners[0] >= 0 for t in tables])
    true = np.cumsum(hits[np.argsort(-scores, kind="stable")])
    total = sum(len(t.truth_classes) for t in tables)
    return np.stack([true / total, true / np.arange(1, len(true) + 1)], 1)


def at_recall(points: np.ndarray, recall: float) -> float:
    """Best precision at this recall or a higher one; 0 where it is never reached."""
    reached = points[points[:, 0] >= recall - 1e-12, 1]
    return float(reached.max()) if len(reached) else 0.0


def compare(supervised: Path, guided: Path, truth: dict[str, Instances]) -> tuple[float, ...]:
    """The recall, the precision of both there, and the recall of overlapping organoids of both at their best F1."""
    first, second = read_instances(supervised), read_instances(guided)
    tables = match_all(first, truth)
    total = tallies(tables, best_threshold(tables)).sum(0)
    recall = float(total[0] / total[2])
    precisions = (at_recall(curve(found, truth), recall) for found in (first, second))
    overlapping = (
        evaluate(found, truth, bootstrap=0).best.recall_overlapping for found in (first, second)
    )
    return recall, *precisions, *overlapping


def main() -> None:
    """Print the table, and write it between its markers where --table is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of few_label.py")
    parser.add_argument("--ground-truth", type=Path, required=True)
    parser.add_argument("--protocol", default="few-label", choices=("few-label", "shift"))
    parser.add_argument("--table", type=Path, metavar="FILE.md")
    args = parser.parse_args()
    truth = read_instances(args.ground_truth)
    lines = []
    root = args.out / "runs" / args.protocol
    for folder in sorted(root.glob("labelled_*"), key=lambda p: int(p.name.split("_")[1])):
        rows = []
        for first in sorted(folder.glob("supervised/seed-*/predictions-*.json")):
            second = folder / "guided" / first.parent.name / first.name
            if second.exists():
                rows.append(compare(first, second, truth))
        if rows:
            label = folder.name.split("_")[1]
            lines.append([label, str(len(rows)), *(number(m) for m in np.mean(rows, 0).tolist())])
    table = markdown(HEADERS, lines)
    print(table)
    if args.table:
        replace_block(args.table, f"precision-{args.protocol}", table)


if __name__ == "__main__":
    main()
