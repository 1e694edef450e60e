"""One step of a fast student: labels of people and of a heavy, fixed teacher, whose soft masks it imitates.

After Xie et al. 2018, "Improving fast segmentation with teacher-student learning": the loss of a labelled image is its
ordinary one plus the zero- and first-order distances from the teacher; that of an unlabelled image is the same with
what the teacher sees as its labels. Theirs are maps of classes; here a pair is an organoid of the target and the
teacher's instance of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from organoseg.core import UsageError
from organoseg.core.soft_mask import SoftMask
from organoseg.distill.branch import Branch
from organoseg.distill.descent import Descent, Report, Trace
from organoseg.distill.pseudo_labels import PseudoLabelFilter
from organoseg.distill.weights import average_weights
from organoseg.models.ensemble import Thorough
from organoseg.models.halves import in_halves
from organoseg.models.imitation import Imitation
from organoseg.models.protocol import Segmenter, Target
from organoseg.models.soft import SoftInstances

Unlabelled = Callable[[], tuple[Tensor, Tensor]]
Labelled = Callable[[], tuple[Tensor, list[Target]]]


@dataclass(frozen=True)
class SoftLabeller:
    """What a fixed teacher says of crops, as labels or beside those of people.

    Parameters
    ----------
    zooms
        Enlargement of each turned view (1 to 4) that the teacher looks at. Of several, soft masks are their mean.
    certainty
        From scores to how sure they make it, both float32 (N,), 0 to 1: the weight of each pair.
    same
        IoU from which on the teacher's instance and a person's are one organoid.
    """

    filter: PseudoLabelFilter
    zooms: tuple[float, ...]
    certainty: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    same: float = 0.5

    def see(self, teacher: Segmenter, pixels: Tensor) -> list[SoftInstances]:
        """The teacher's instances with soft masks, whose scores are certainties."""
        looks = Thorough(teacher, self.zooms)
        seen = in_halves(
            lambda some: looks.segment_soft(pixels[some], self.filter.floor), len(pixels)
        )
        return [self._sure(one) for one in seen]

    def _sure(self, seen: SoftInstances) -> SoftInstances:
        sure = np.clip(self.certainty(np.clip(seen.instances.scores, 0, 1)), 0, 1).tolist()
        soft = (replace(one, score=s) for one, s in zip(seen.soft, sure, strict=True))
        return SoftInstances(seen.instances, tuple(soft))

    def label(self, teacher: Segmenter, weak: Tensor) -> list[Target]:
        """Targets for the unlabelled crops (B, 1, S, S), with soft masks."""
        return [self._labelled(seen) for seen in self.see(teacher, weak)]

    def _labelled(self, seen: SoftInstances) -> Target:
        target = self.filter(seen.instances)
        soft = dict(zip(seen.instances.ids.tolist(), seen.soft, strict=True))
        return replace(target, soft=tuple(soft[i] for i in target.instances.ids.tolist()))

    def beside(self, teacher: Segmenter, pixels: Tensor, targets: Sequence[Target]) -> list[Target]:
        """The targets of labelled crops with the soft masks of those organoids that the teacher sees too."""
        seen = self.see(teacher, pixels)
        return [
            replace(target, soft=self._matched(target, said))
            for target, said in zip(targets, seen, strict=True)
        ]

    def _matched(self, target: Target, said: SoftInstances) -> tuple[SoftMask | None, ...]:
        """One to one, the closest pairs first."""
        found: list[SoftMask | None] = [None] * len(target.instances)
        theirs = said.instances
        if not found or not len(theirs):
            return tuple(found)
        overlap = target.instances.iou(theirs, self.same)
        overlap[target.instances.classes[:, None] != theirs.classes[None, :]] = 0
        overlap[target.ignored] = 0
        free = np.ones(len(theirs), bool)
        for flat in np.argsort(-overlap, axis=None, kind="stable"):
            i, j = divmod(int(flat), len(theirs))
            if overlap[i, j] < self.same:
                break
            if found[i] is None and free[j]:
                found[i], free[j] = said.soft[j], False
        return tuple(found)


class ImitationStep:
    """The order of one step, and nothing else.

    Parameters
    ----------
    student, average
        The network that trains, and its running average.
    teacher
        Any engine for the same classes. It never trains.
    unlabelled_weight
        Factor of all terms of the unlabelled crops, ``lambda`` in the paper.
    decay
        Of the running average.
    trace
        Called with the name of each part as it happens; for tests.
    """

    def __init__(
        self,
        student: Segmenter,
        average: Segmenter,
        teacher: Segmenter,
        optimiser: torch.optim.Optimizer,
        labeller: SoftLabeller,
        imitation: Imitation,
        descent: Descent,
        *,
        unlabelled_weight: float = 1.0,
        decay: float = 0.99,
        trace: Trace = lambda part: None,
    ) -> None:
        self.student, self.average, self.teacher = student, average, teacher
        self.optimiser, self.labeller, self.imitation = optimiser, labeller, imitation
        self.unlabelled_weight, self.decay = unlabelled_weight, decay
        self._descend, self._trace = descent, trace

    def __call__(self, unlabelled: Unlabelled | None, labelled: Labelled) -> Report:
        """Run one step.

        Parameters
        ----------
        unlabelled
            Weak and strong views (B, 1, S, S) of the same crops; None where there is no archive.
        labelled
            Labelled crops (B, 1, S, S) and their targets.

        Raises
        ------
        RunError
            The loss or its gradient is not finite. The student is as it was before this step.
        """
        report = Report()
        if unlabelled is not None:
            self._trace("next.unlabelled")
            weak, strong = unlabelled()
        self._trace("next.labelled")
        pixels, targets = labelled()
        self._trace("average")
        average_weights(_module(self.average), _module(self.student), self.decay)
        with torch.no_grad():
            if unlabelled is not None:
                self._trace("teacher.label")
                report.pseudo = self.labeller.label(self.teacher, weak)
            self._trace("teacher.beside")
            targets = self.labeller.beside(self.teacher, pixels, targets)
        branches = [Branch("labelled", pixels, targets)]
        if unlabelled is not None:
            branches.append(Branch("unlabelled", strong, report.pseudo, self.unlabelled_weight))
        self.student.imitation = self.imitation  # type: ignore[attr-defined]
        try:
            self._descend(self.student, self.optimiser, branches, report)
        finally:
            self.student.imitation = None  # type: ignore[attr-defined]
        return report


def check_student(student: Any, engine: str) -> None:
    """UsageError where an engine cannot learn from soft masks."""
    if not hasattr(student, "imitation"):
        raise UsageError(
            f"the engine {engine} cannot imitate a teacher",
            where="recipe, model.engine",
            remedy="Set it to compact.",
        )


def _module(segmenter: Segmenter) -> nn.Module:
    if not isinstance(segmenter, nn.Module):
        raise TypeError("an engine must be a torch module to be trained")
    return segmenter
