"""What two teachers say of one image: their agreement is the quality of a pseudo-label.

Two networks that learnt from the same labels from different starts err at different places. What both draw is an
organoid far more often than what one of them scores highly, and what only one draws is no background either: nobody
knows (mutual distillation: Yuan et al. 2022, arXiv 2208.11499, teaches each student by the other's teacher; that the
two teachers have to agree on an instance is ours).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances
from organoseg.distill.pseudo_labels import PseudoLabelFilter
from organoseg.models.protocol import Target

#: How two opinions become one: see `opinions`.
Rule = Literal["keep", "weight", "off"]
#: Mask IoU from which two drawings are the same organoid, for one that teaches and for one that counts less.
SAME, NEAR = 0.7, 0.5
#: Source of an instance that one of two teachers sees, as it travels through crops.
ALONE = "one teacher of two"


@dataclass(frozen=True, eq=False)
class Pairs:
    """Instances of two sets that show the same: ``first`` and ``second`` int64 (K,) and their ``iou`` (K,)."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    iou: NDArray[np.float64]


def paired(first: Instances, second: Instances, iou: float = SAME) -> Pairs:
    """Which instance of one set shows what which of the other shows: one to one, of the same class.

    The pair of the highest IoU comes first, then the best of what is left. Ties go to the lower number in either set;
    two pairs that compete share an instance, so the answer does not depend on which set is called the first.
    """
    table = first.iou(second, iou)
    table[first.classes[:, None] != second.classes[None, :]] = 0
    rows, columns = np.nonzero(table >= iou)
    values = table[rows, columns]
    free_rows, free_columns = np.ones(len(first), bool), np.ones(len(second), bool)
    chosen = []
    for k in np.lexsort((columns, rows, -values)).tolist():
        i, j = rows[k], columns[k]
        if free_rows[i] and free_columns[j]:
            free_rows[i] = free_columns[j] = False
            chosen.append(k)
    order = np.array(sorted(chosen), np.int64)
    return Pairs(rows[order], columns[order], values[order])


def opinions(mine: Instances, other: Instances, rule: Rule = "keep") -> Instances:
    """What ``mine`` says of an image once the ``other`` teacher was asked as well.

    Masks and ids of what both see are mine. By rule:

    - ``keep``: what both draw (IoU from `SAME` on) has the mean of their scores; what one of them draws alone,
      whichever it is, stays with its score and the source `ALONE`, for a filter that ignores it.
    - ``weight``: a score becomes the mean over both teachers of score x IoU (pairs from `NEAR` on), so what one of them
      sees alone counts half.
    - ``off``: the other teacher is not asked.
    """
    if rule == "off":
        return mine
    pairs = paired(mine, other, SAME if rule == "keep" else NEAR)
    share = 0.5 if rule == "weight" else 1.0
    scores = mine.scores.astype(np.float64) * share
    match = pairs.iou if rule == "weight" else 1.0
    scores[pairs.first] = (mine.scores[pairs.first] + match * other.scores[pairs.second]) / 2
    unseen = np.setdiff1d(np.arange(len(other)), pairs.second)
    rest = other.select(unseen)
    rest = rest.replace(scores=(rest.scores * share).astype(np.float32))
    both = mine.replace(scores=scores.astype(np.float32))
    if rule == "keep":
        seconded = np.zeros(len(mine), bool)
        seconded[pairs.first] = True
        sources = (s if b else ALONE for s, b in zip(mine.sources, seconded, strict=True))
        both = both.replace(sources=tuple(sources))
        rest = rest.replace(sources=(ALONE,) * len(rest))
    return both.union(rest)


def certain(said: Instances) -> Instances:
    """What is left of `opinions` without what one teacher sees alone."""
    alone = np.array([source == ALONE for source in said.sources], bool)
    return said.select(~alone)


@dataclass(frozen=True)
class AgreementFilter:
    """Another filter's targets, in which what one teacher sees alone is neither organoid nor background.

    A drawing of one teacher that the filter would take for another drawing of what both see (its ``nms``) is left
    out: the organoid is known.

    Parameters
    ----------
    agreed
        The filter of what both see; what is seen alone has to reach its ``floor`` as well.
    """

    agreed: PseudoLabelFilter

    @property
    def floor(self) -> float:
        """Predictions below this score need not reach the filter."""
        return self.agreed.floor

    def __call__(self, predicted: Instances) -> Target:
        """Target from instances that went through `opinions`."""
        alone = np.array([source == ALONE for source in predicted.sources], bool)
        target = self.agreed(predicted.select(~alone))
        doubted = self.agreed(predicted.select(alone)).instances
        if len(doubted) == 0:
            return target
        known = target.instances
        again = (known.iou(doubted) > SAME).sum(axis=0) > 0
        new = doubted.select(np.flatnonzero(~again))
        zeros = np.zeros(len(new), np.float32)
        return replace(
            target,
            instances=known.union(new),
            weights=np.concatenate([target.weights, zeros]),
            confidence=np.concatenate([target.confidence, zeros]),
            ignored=np.concatenate([target.ignored, np.ones(len(new), bool)]),
        )
