"""One step of mutual distillation, in the order of Yuan et al. 2022 (arXiv 2208.11499; methods.md, 5).

Two students, and of each a running average that teaches the *other* one: what a network believes wrongly is corrected
by one that started elsewhere, not by its own past.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from organoseg.core import Instances
from organoseg.distill.agreement import Rule, opinions
from organoseg.distill.branch import Branch
from organoseg.distill.cut_mix import Box, mix_pixels, mix_targets
from organoseg.distill.descent import Descent, Report, Trace
from organoseg.distill.iteration import Iteration, Rules
from organoseg.distill.labeller import Labeller, LabelsBatches
from organoseg.distill.pseudo_labels import PseudoLabelFilter
from organoseg.models.pair import FIRST, SECOND, Pair, other, pair_of
from organoseg.models.protocol import Target

#: Targets of each student, by its name.
Both = dict[str, list[Target]]
NAMES = (FIRST, SECOND)


@dataclass(frozen=True)
class MutualLabeller:
    """What each student of a pair is taught of a batch: the words of the other one's teacher.

    Parameters
    ----------
    plain
        How one teacher labels a batch.
    chosen
        From instances to targets, where both teachers are asked; `AgreementFilter` for the rule ``keep``.
    """

    plain: LabelsBatches
    looks: Labeller
    chosen: PseudoLabelFilter
    rule: Rule = "keep"

    def __call__(self, teachers: Pair, weak: Tensor) -> Both:
        """Targets of the weak views (B, 1, S, S)."""
        if self.rule == "off":
            return {name: self.plain(teachers.other(name), weak) for name in NAMES}
        seen = {name: self.looks.predict(teachers[name], weak) for name in NAMES}
        return {name: self._targets(seen[other(name)], seen[name]) for name in NAMES}

    def _targets(self, theirs: Sequence[Instances], own: Sequence[Instances]) -> list[Target]:
        pairs = zip(theirs, own, strict=True)
        return [self.chosen(opinions(mine, second, self.rule)) for mine, second in pairs]


@torch.no_grad()
def crossed(students: Pair, pixels: Tensor, chosen: LabelsBatches) -> Both:
    """Targets of each student from what the other one sees in the same crops; modes are put back."""
    was_training = students.training
    students.eval()
    found = {name: chosen(students.other(name), pixels) for name in NAMES}
    students.train(was_training)
    return found


@dataclass(frozen=True)
class Crossing:
    """How students teach each other: the loss of it counts ``weight`` times, targets are made by ``chosen``."""

    weight: float
    chosen: LabelsBatches


class MutualIteration(Iteration):
    """The order of one step of a pair.

    Parameters
    ----------
    students, teachers
        Two pairs of one kind. The teachers never train.
    labeller
        Targets of each student from the teachers and the weak views.
    boxes
        Rectangles that each crop takes from the one before it; empty for none.
    crossing
        None: students do not teach each other.
    """

    def __init__(
        self,
        students: Pair,
        teachers: Pair,
        optimiser: torch.optim.Optimizer,
        labeller: Callable[[Pair, Tensor], Both],
        rules: Rules,
        *,
        boxes: Callable[[Tensor], Sequence[Sequence[Box]]] = lambda pixels: (),
        crossing: Crossing | None = None,
        average: Any = None,
        descent: Descent | None = None,
        trace: Trace = lambda part: None,
    ) -> None:
        super().__init__(
            students, teachers, optimiser, _never, rules,
            average=average, descent=descent, trace=trace,
        )  # fmt: skip
        self._label, self._boxes, self._crossing = labeller, boxes, crossing

    def _labelled(self, pixels: Tensor, targets: list[Target]) -> list[Branch]:
        """The labelled crops are the same for both students, the archive's too."""
        students = pair_of(self._module(self.student))
        return [Branch(f"labelled_{n}", pixels, targets, 1.0, students[n]) for n in NAMES]

    def _taught(self, weak: Tensor, strong: Tensor, report: Report) -> list[Branch]:
        self._trace("teachers.label")
        taught = self._label(pair_of(self._module(self.teacher)), weak)
        report.pseudo = [target for name in NAMES for target in taught[name]]
        return self._unlabelled(pair_of(self._module(self.student)), strong, taught)

    def _unlabelled(self, students: Pair, strong: Tensor, taught: Both) -> list[Branch]:
        boxes = self._boxes(strong)
        if any(boxes):
            self._trace("mix")
            strong = mix_pixels(strong, boxes)
            taught = {name: mix_targets(taught[name], boxes) for name in NAMES}
        weight = self.rules.unlabelled_weight
        branches = [
            Branch(f"unlabelled_{n}", strong, taught[n], weight, students[n]) for n in NAMES
        ]
        if self._crossing is not None:
            self._trace("students.label")
            found = crossed(students, strong, self._crossing.chosen)
            cross = self._crossing.weight
            branches += [Branch(f"cross_{n}", strong, found[n], cross, students[n]) for n in NAMES]
        return branches


def _never(teacher: Any, weak: Tensor) -> list[Target]:
    raise TypeError("the teachers of a pair label for each other")
