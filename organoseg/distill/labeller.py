"""The teacher at work: weak views in, targets for the student out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from organoseg.core import Instances, Mask
from organoseg.distill.pseudo_labels import PseudoLabelFilter
from organoseg.models.ensemble import Thorough
from organoseg.models.halves import in_halves
from organoseg.models.protocol import QuerySegmenter, Segmenter, Target

LabelsBatches = Callable[[Segmenter, torch.Tensor], list[Target]]
#: Pixels a side of a cell of the grid on which queries draw their masks.
CELL = 4


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
        looks = Thorough(teacher, self.zooms)
        return in_halves(lambda some: looks.segment(weak[some], self.filter.floor), len(weak))


@dataclass(frozen=True)
class QueryLabeller:
    """The paper's pseudo-labels, from what each query says (methods.md, 1.3).

    A query teaches where its most probable class is not "no object", the softmax over the K classes *and* "no object"
    is above ``score``, and the sum of its mask's probabilities is above ``cells``. The mask is hard (above .5) on the
    grid of the mask logits. Nothing else is asked: no duplicate is removed, and what no query shows is background.
    A mask without a single cell above .5 is left out: an empty target teaches nothing and breaks the matching.

    Parameters
    ----------
    otherwise
        Labels for engines without queries.
    """

    score: float
    otherwise: Labeller
    cells: float = 5.0

    @torch.no_grad()
    def __call__(self, teacher: Segmenter, weak: torch.Tensor) -> list[Target]:
        """Targets on a grid of `CELL` px from the weak views (B, 1, S, S)."""
        if not isinstance(teacher, QuerySegmenter):
            return self.otherwise(teacher, weak)
        return in_halves(lambda some: self._labelled(teacher, weak[some]), len(weak))

    def _labelled(self, teacher: QuerySegmenter, weak: torch.Tensor) -> list[Target]:
        said = teacher.queries(weak)
        best, label = said.probabilities.float().max(dim=2)
        chance = said.masks.float().sigmoid()
        no_object = said.probabilities.shape[2] - 1
        good = (label != no_object) & (best > self.score)
        good &= chance.sum(dim=(2, 3)) > self.cells
        image, query = good.nonzero(as_tuple=True)
        # One way to the host for all masks of the batch.
        bits = (chance[image, query] > 0.5).cpu().numpy()
        scores, labels = best[image, query].cpu().numpy(), label[image, query].cpu().numpy()
        of = image.cpu().numpy()
        shape = (int(bits.shape[1]), int(bits.shape[2]))
        classes = np.asarray(teacher.classes, np.int32)
        targets = []
        for number in range(len(weak)):
            mine = np.flatnonzero(of == number)
            found = Instances.from_masks(
                shape,
                [Mask.from_bits(bits[i]) for i in mine],
                scores=scores[mine],
                classes=classes[labels[mine]],
                drop_empty=True,
            )
            n = len(found)
            ones = np.ones(n, np.float32)
            none = np.zeros(n, bool)
            targets.append(Target(found, ones, ones, none, stride=CELL, pseudo=True))
        return targets
