"""COCO's average precision from match tables: fast, and exact for resampled images too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances
from organoseg.evaluation.matching import IOU_THRESHOLDS, ImageMatches, classes_of, match_all

RECALL_POINTS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, eq=False)
class RankedClass:
    """All predictions of one class over I images, best score first (ties: the earlier image).

    hits: bool (10, D), matched at each IoU threshold; image: int64 (D,), the image of each;
    truths: int64 (I,), labelled organoids of the class in each image.
    """

    hits: NDArray[np.bool_]
    image: NDArray[np.int64]
    truths: NDArray[np.int64]


def rank(tables: Sequence[ImageMatches]) -> list[RankedClass]:
    """The ranked predictions of each labelled class."""
    ranked = []
    for number in classes_of(tables):
        chosen = [table.classes == number for table in tables]
        scores = np.concatenate([t.scores[c] for t, c in zip(tables, chosen, strict=True)])
        hits = [t.partners[:, c] >= 0 for t, c in zip(tables, chosen, strict=True)]
        order = np.argsort(-scores, kind="stable")
        counts = [int(np.count_nonzero(c)) for c in chosen]
        ranked.append(
            RankedClass(
                np.concatenate(hits, axis=1)[:, order],
                np.repeat(np.arange(len(tables)), counts)[order],
                np.array([np.count_nonzero(t.truth_classes == number) for t in tables], np.int64),
            )
        )
    return ranked


def precision_by_threshold(
    ranked: Sequence[RankedClass], weights: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Average precision at each IoU threshold, float64 (10,), the mean over classes.

    weights: int64 (I,), how often each image counts (1 each when None). NaN where no organoid is
    labelled. Copies of a prediction rank side by side: the figure of really copied images, but for
    the order among equal scores.
    """
    per_class = []
    for entry in ranked:
        times = np.ones(len(entry.truths), np.int64) if weights is None else weights
        total = int(times @ entry.truths)
        if total:
            per_class.append(_one_class(entry, times, total))
    if not per_class:
        return np.full(len(IOU_THRESHOLDS), np.nan)
    mean: NDArray[np.float64] = np.mean(per_class, axis=0)
    return mean


def _one_class(entry: RankedClass, times: NDArray[np.int64], total: int) -> NDArray[np.float64]:
    each = times[entry.image]
    true = np.cumsum(np.where(entry.hits, each, 0), axis=1)
    # The tiny term is COCO's: it keeps the front of the list, where nothing counts, at zero.
    precision = true / (np.cumsum(each) + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([envelope, np.zeros((len(envelope), 1))], axis=1)
    recall = true / total
    return np.array(
        [
            line[np.searchsorted(reached, RECALL_POINTS, side="left")].mean()
            for line, reached in zip(padded, recall, strict=True)
        ]
    )


def average_precision(
    predictions: Mapping[str, Instances], ground_truth: Mapping[str, Instances]
) -> float:
    """COCO's mask AP (mean over IoU .5 to .95), as pycocotools gives it with no limit on counts.

    Images are matched by name; one without predictions counts as empty, predictions for other
    names are not looked at (`evaluate` is strict). NaN when no organoid is labelled. DataError
    when predictions and labels of an image are of different size.
    """
    return float(precision_by_threshold(rank(match_all(predictions, ground_truth))).mean())
