"""A threshold chosen by counting: as many pseudo-labels a crop as people drew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from organoseg.core import Instances
from organoseg.models.protocol import Target


def calibrated_threshold(
    predicted: Sequence[Instances],
    labelled: Sequence[Target],
    low: float,
    high: float,
    factor: float = 1.0,
) -> float:
    """The score that keeps ``factor`` times as many predictions a crop as labelled crops hold.

    Wang et al. 2022, "Noisy Boundaries", choose thresholds so. The crops of both must be of one size. The result stays
    in [low, high]: an archive that is emptier than the labelled images must not drag the threshold to the floor.
    """
    density = float(np.mean([len(t.instances) for t in labelled]))
    scores = np.sort(np.concatenate([p.scores for p in predicted]) if predicted else np.zeros(0))[
        ::-1
    ]
    wanted = round(density * len(predicted) * factor)
    if wanted <= 0:
        return high
    if wanted >= len(scores):
        return low
    return float(np.clip(scores[wanted - 1], low, high))
