"""Recall on organoids that lie free and on those that overlap with others."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances
from organoseg.evaluation.matching import ImageMatches

# An organoid overlaps when others cover more than this share of its own area.
OVERLAPPING = 0.1


def overlap_tallies(
    tables: Sequence[ImageMatches],
    ground_truth: Iterable[Instances],
    score: float = -np.inf,
) -> NDArray[np.int64]:
    """Per image (I, 4): isolated organoids found, isolated, overlapping found, overlapping.

    Found means matched at IoU .5 by a prediction with at least `score` (all when left out). The
    overlap is among the labelled organoids of all classes.
    """
    rows = []
    for table, truth in zip(tables, ground_truth, strict=True):
        found = table.found(score)
        over = truth.overlap_fraction() > OVERLAPPING
        rows.append([np.sum(found & ~over), np.sum(~over), np.sum(found & over), np.sum(over)])
    return np.array(rows, np.int64).reshape(-1, 4)
