"""The teacher at work: weak views in, targets for the student out."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from organoseg.core import Instances
from organoseg.distill.pseudo_labels import PseudoLabelFilter, agree
from organoseg.models.protocol import Segmenter, Target

#: (quarter turns, mirrored) of the views a teacher may look at; the first is the image as it is.
VIEWS = ((0, False), (2, True), (1, False), (3, True))


@dataclass(frozen=True)
class Labeller:
    """Pseudo-labels of a batch.

    Parameters
    ----------
    views
        How many flipped and turned views (1 to 4) the teacher looks at; what they agree on scores higher.
    """

    filter: PseudoLabelFilter
    views: int = 1

    @torch.no_grad()
    def __call__(self, teacher: Segmenter, weak: torch.Tensor) -> list[Target]:
        """Targets for the student from the weak views (B, 1, S, S)."""
        return [self.filter(p) for p in self.predict(teacher, weak)]

    @torch.no_grad()
    def predict(self, teacher: Segmenter, weak: torch.Tensor) -> list[Instances]:
        """The teacher's instances of the weak views, before the filter."""
        if self.views == 1:
            return teacher.segment(weak, self.filter.floor)
        # A view alone scores an instance up to n times what the views score it together.
        floor = max(self.filter.floor / self.views, 0.05)
        seen: list[list[Instances]] = []
        for turns, mirrored in VIEWS[: self.views]:
            turned = torch.rot90(weak, turns, (2, 3))
            if mirrored:
                turned = turned.flip(3)
            seen.append([_back(p, turns, mirrored) for p in teacher.segment(turned, floor)])
        return [agree(per_image) for per_image in zip(*seen, strict=True)]


def _back(instances: Instances, turns: int, mirrored: bool) -> Instances:
    return (instances.flip(1) if mirrored else instances).rot90(-turns)
