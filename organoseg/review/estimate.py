"""How good the model is, told from the images that were drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances
from organoseg.review.session import ReviewSession

_DRAWS = 2000
_MATCH = 0.5
_FEW = 5


@dataclass(frozen=True)
class Share:
    """A share, 0 to 1, with a 95 % interval; NaN where nothing was counted."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "unknown"
        return f"{self.value:.0%} ({self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True)
class Estimate:
    """Of the model's organoids, how many are right; of all organoids, how many it found; how well it outlines them.

    precision, recall: at IoU .5; untouched: model organoids accepted without a change; images, organoids: what this
    rests on, the complete ones among the images drawn at random.
    """

    precision: Share
    recall: Share
    untouched: Share
    images: int
    organoids: int

    @property
    def words(self) -> str:
        """What a person needs to know, in sentences."""
        if not self.images:
            return (
                "Nothing is known yet: no image that was drawn at random is complete. "
                "Every few images the queue shows one; mark it complete when it is."
            )
        text = (
            f"From {self.images} complete images drawn at random ({self.organoids} organoids): "
            f"{self.precision} of what the model draws is an organoid, it finds {self.recall} of all organoids, "
            f"and {self.untouched} of its outlines needed no change."
        )
        if self.images < _FEW:
            text += f" These intervals rest on {self.images} images: review {_FEW} or more before you trust them."
        return text


@dataclass(frozen=True)
class _Counts:
    matched: int
    predicted: int
    true: int
    untouched: int


def estimate_accuracy(session: ReviewSession, seed: int = 0) -> Estimate:
    """The model's accuracy in all images of the project, without the queue's bias.

    Only complete images that were drawn at random count. They are met in random order, so however far the review has
    come they are a fair sample of all images, as long as they are not passed over. Intervals are from a bootstrap over
    images, because organoids of one image are alike.
    """
    counts = []
    for key in (p.key for p in session.project.pictures if p.random):
        state = session.state(key)
        if state.complete:
            found = session.project.found(key)
            kept = state.instances("accepted")
            unchanged = sum(
                not o.edited and o.status == "accepted" for o in state.organoids.values()
            )
            counts.append(_Counts(matches(found, kept), len(found), len(kept), unchanged))
    table = np.array(
        [[c.matched, c.predicted, c.true, c.untouched] for c in counts], np.float64
    ).reshape(-1, 4)
    return Estimate(
        _share(table[:, 0], table[:, 1], seed),
        _share(table[:, 0], table[:, 2], seed),
        _share(table[:, 3], table[:, 1], seed),
        len(counts),
        int(table[:, 2].sum()),
    )


def matches(predicted: Instances, true: Instances, iou: float = _MATCH) -> int:
    """Pairs of one predicted and one true organoid with an IoU of at least ``iou``, as many as possible."""
    from scipy.optimize import linear_sum_assignment

    close = predicted.iou(true) >= iou
    rows, columns = linear_sum_assignment(close, maximize=True)
    return int(close[rows, columns].sum())


def _share(counted: NDArray[np.float64], of: NDArray[np.float64], seed: int) -> Share:
    """Ratio of sums with a percentile bootstrap over images."""
    if not of.sum():
        return Share(np.nan, np.nan, np.nan)
    draws = np.random.default_rng(seed).integers(0, len(of), (_DRAWS, len(of)))
    sums = of[draws].sum(axis=1)
    ratios = counted[draws].sum(axis=1)[sums > 0] / sums[sums > 0]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Share(float(counted.sum() / of.sum()), float(low), float(high))
