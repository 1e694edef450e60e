"""The teacher at work: weak views in, targets for the student out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

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
        if self.zooms == (1.0,):
            return teacher.segment(weak, self.filter.floor)
        # A view alone scores an instance up to n times what the views score it together.
        floor = max(self.filter.floor / self.views, 0.05)
        seen: list[list[Instances]] = []
        for (turns, mirrored), zoom in zip(VIEWS, self.zooms, strict=False):
            turned = torch.rot90(_enlarged(weak, zoom), turns, (2, 3))
            if mirrored:
                turned = turned.flip(3)
            found = teacher.segment(turned, floor)
            shape = (weak.shape[2], weak.shape[3])
            seen.append([_back(p, turns, mirrored, shape) for p in found])
        return [agree(per_image) for per_image in zip(*seen, strict=True)]


def _enlarged(pixels: torch.Tensor, zoom: float) -> torch.Tensor:
    if zoom == 1:
        return pixels
    size = [max(round(side * zoom), 1) for side in pixels.shape[2:]]
    return F.interpolate(
        pixels, size=size, mode="bilinear", align_corners=False, antialias=zoom < 1
    )


def _back(instances: Instances, turns: int, mirrored: bool, shape: tuple[int, int]) -> Instances:
    upright = (instances.flip(1) if mirrored else instances).rot90(-turns)
    return upright if upright.shape == shape else upright.scale(shape)
