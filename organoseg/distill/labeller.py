"""The teacher at work: weak views in, targets for the student out."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from organoseg.core import Instances
from organoseg.distill.pseudo_labels import PseudoLabelFilter
from organoseg.models.ensemble import Thorough
from organoseg.models.protocol import Segmenter, Target


@dataclass(frozen=True)
class Labeller:
    """Pseudo-labels of a batch.

    Parameters
    ----------
    zooms
        How much each of the turned views (1 to 4) that the teacher looks at is enlarged; what they agree on scores
        higher. Views of several sizes agree by accident less often than views that are only turned.
    """

    filter: PseudoLabelFilter
    zooms: tuple[float, ...] = (1.0,)

    @property
    def views(self) -> int:
        """How many views the teacher looks at."""
        return len(self.zooms)

    @torch.no_grad()
    def __call__(self, teacher: Segmenter, weak: torch.Tensor) -> list[Target]:
        """Targets for the student from the weak views (B, 1, S, S)."""
        return [self.filter(p) for p in self.predict(teacher, weak)]

    @torch.no_grad()
    def predict(self, teacher: Segmenter, weak: torch.Tensor) -> list[Instances]:
        """The teacher's instances of the weak views, before the filter."""
        return Thorough(teacher, self.zooms).segment(weak, self.filter.floor)
