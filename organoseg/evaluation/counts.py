"""Precision, recall, F1 and organoid counts at a score threshold, matched at IoU .5."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from organoseg.evaluation.matching import ImageMatches


def tallies(tables: Sequence[ImageMatches], score: float) -> NDArray[np.int64]:
    """Per image (I, 3): predictions that match, predictions in all, labelled organoids."""
    rows = [
        (
            int(np.count_nonzero(table.partners[0][table.scores >= score] >= 0)),
            int(np.count_nonzero(table.scores >= score)),
            len(table.truth_classes),
        )
        for table in tables
    ]
    return np.array(rows, np.int64).reshape(-1, 3)


def best_threshold(tables: Sequence[ImageMatches]) -> float:
    """The score from which on predictions give the highest F1 over all images.

    It is the score of a prediction; of equal ones the highest. 1 when there is no prediction.
    """
    scores = np.concatenate([np.zeros(0), *(table.scores for table in tables)])
    if scores.size == 0:
        return 1.0
    hits = np.concatenate([table.partners[0] >= 0 for table in tables])
    order = np.argsort(-scores, kind="stable")
    scores, true = scores[order], np.cumsum(hits[order])
    # Equal scores come in or stay out together: judge only where the score changes.
    ends = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    labelled = sum(len(table.truth_classes) for table in tables)
    f1 = 2 * true[ends] / (ends + 1 + labelled)
    return float(scores[ends[np.argmax(f1)]])


def precision(total: NDArray[np.int64]) -> NDArray[np.float64]:
    """Matched share of the predictions; `total` (..., 3) as `tallies` has it. NaN for none."""
    return ratio(total[..., 0], total[..., 1])


def recall(total: NDArray[np.int64]) -> NDArray[np.float64]:
    """Matched share of the labelled organoids. NaN for none."""
    return ratio(total[..., 0], total[..., 2])


def f1(total: NDArray[np.int64]) -> NDArray[np.float64]:
    """Harmonic mean of both. NaN when there is neither a prediction nor an organoid."""
    return ratio(2 * total[..., 0], total[..., 1] + total[..., 2])


def ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """part / whole, NaN where the whole is 0."""
    with np.errstate(invalid="ignore"):
        return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
