"""From a teacher's instances to targets for the student."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from organoseg.core import Instances
from organoseg.models.protocol import Target


class PseudoLabelFilter(Protocol):
    """Decides which predictions of the teacher teach, which are ignored and which are dropped."""

    @property
    def floor(self) -> float:
        """Predictions below this score need not reach the filter."""
        ...

    def __call__(self, predicted: Instances) -> Target:
        """Target for the student from the teacher's instances of one image."""
        ...


@dataclass(frozen=True)
class PaperFilter:
    """The filter of Berrada et al. 2023: score above .7 and a few px, hard labels, misses are background.

    No duplicate removal, no quality weight, no ignore region (methods.md, 1.3).
    """

    score: float = 0.7
    smallest_area: int = 80  # 5 cells at stride 4

    @property
    def floor(self) -> float:
        return self.score

    def __call__(self, predicted: Instances) -> Target:
        good = (predicted.scores > self.score) & (predicted.areas > self.smallest_area)
        return replace(Target.labelled(predicted.select(good)), pseudo=True)


@dataclass(frozen=True)
class OrganoidFilter:
    """Quality-weighted positives with soft scores, and an ignore band.

    A hard threshold asks the teacher for more than it knows: what is just above it becomes certain, what is just below
    it becomes background. Here the student learns the teacher's doubt as well, so its ranking, and with it its
    precision, survives. Certainty is the chance that a prediction is an organoid, and a score is no chance: an
    organoid that four views score .9 is right nine times in ten, but one at .7 only four times, one at .5 hardly
    ever. A power of the score fits that (docs/experiments.md has the figures).

    Parameters
    ----------
    sharpness
        A prediction of score s is taught with certainty s ** sharpness.
    accept
        Predictions from this score on are positives.
    ignore
        Predictions from here to ``accept`` are neither organoid nor background.
    power
        A positive of certainty c teaches its mask with weight c ** power.
    nms
        Mask IoU above which two pseudo-labels are one organoid. Containment is no duplicate: overlap is real.
    background
        Weight of the background of an unlabelled image.
    """

    sharpness: float = 2.0
    accept: float = 0.2
    ignore: float = 0.1
    power: float = 1.0
    nms: float = 0.7
    background: float = 1.0
    smallest_area: int = 30

    @property
    def floor(self) -> float:
        return self.ignore

    def __call__(self, predicted: Instances) -> Target:
        kept = predicted.select(
            (predicted.scores >= self.ignore) & (predicted.areas >= self.smallest_area)
        )
        kept = kept.nms(self.nms)
        certainty = np.clip(kept.scores, 0, 1).astype(np.float32) ** np.float32(self.sharpness)
        return Target(
            instances=kept,
            weights=certainty**self.power,
            confidence=certainty,
            ignored=kept.scores < self.accept,
            background_weight=self.background,
            pseudo=True,
        )
