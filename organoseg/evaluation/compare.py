"""Is one set of predictions better than another? Paired over the same images."""

from collections.abc import Mapping

import numpy as np

from organoseg.core import Instances
from organoseg.evaluation.average_precision import precision_by_threshold, rank
from organoseg.evaluation.bootstrap import Interval, Weights, interval, resamplings
from organoseg.evaluation.matching import match_all


def ap_difference(
    first: Mapping[str, Instances],
    second: Mapping[str, Instances],
    ground_truth: Mapping[str, Instances],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> tuple[float, Interval]:
    """AP of `second` minus AP of `first`, and its 95 % interval over resampled images.

    Both are judged on the same draw each time, so what makes an image hard for both cancels out.
    When the interval holds 0, these images do not tell which is better. Names as in
    `average_precision`.
    """
    before = rank(match_all(first, ground_truth))
    after = rank(match_all(second, ground_truth))

    def gain(weights: Weights | None) -> float:
        change = precision_by_threshold(after, weights) - precision_by_threshold(before, weights)
        return float(change.mean())

    draws = resamplings(len(ground_truth), bootstrap, seed)
    return gain(None), interval(np.array([gain(row) for row in draws]))
