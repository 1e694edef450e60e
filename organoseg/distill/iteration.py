"""One step of guided distillation, in the order of Berrada et al. 2023 (methods.md, 1.2)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from organoseg.distill.branch import Branch
from organoseg.distill.descent import Descent, Report, Trace
from organoseg.distill.schedule import Phase
from organoseg.distill.weights import average_weights, copy_weights
from organoseg.models.protocol import Segmenter, Target


@dataclass(frozen=True)
class Rules:
    """Numbers of the method.

    Parameters
    ----------
    unlabelled_weight
        Factor of every loss term of the unlabelled branch.
    decay
        EMA decay of the teacher in the mutual stage.
    clip
        Largest L2 norm of the whole model's gradient.
    average_decay
        Decay of the running average where it teaches nobody: before there is a teacher, and beside a frozen one.
    burn_in_distils
        False: until the switch the student learns from labels alone (Liu et al. 2021, "Unbiased Teacher").
    """

    unlabelled_weight: float = 2.0
    decay: float = 0.9996
    clip: float = 0.01
    average_decay: float = 0.99
    burn_in_distils: bool = True


class Iteration:
    """The order of one step, and nothing else: where batches come from and what is logged is the loop's matter.

    Parameters
    ----------
    student, teacher
        Two engines of one kind. The teacher never trains.
    backward, autocast
        Of a descent in one part and one process; not used where ``descent`` is given.
    descent
        How the loss becomes a step.
    trace
        Called with the name of each part as it happens; for tests.
    """

    def __init__(
        self,
        student: Segmenter,
        teacher: Segmenter,
        optimiser: torch.optim.Optimizer,
        labeller: Callable[[Segmenter, Tensor], list[Target]],
        rules: Rules,
        *,
        average: Segmenter | None = None,
        backward: Callable[[Tensor], Any] = torch.Tensor.backward,
        autocast: Callable[[], Any] = nullcontext,
        descent: Descent | None = None,
        trace: Trace = lambda part: None,
    ) -> None:
        self.student, self.teacher = student, teacher
        self.optimiser, self.labeller, self.rules = optimiser, labeller, rules
        self.average = average
        self._descend = descent or Descent(
            rules.clip, backward=backward, autocast=autocast, trace=trace
        )
        self._trace = trace

    def __call__(
        self,
        phase: Phase,
        switching: bool,
        next_unlabelled: Callable[[], tuple[Tensor, Tensor]],
        next_labelled: Callable[[], tuple[Tensor, list[Target]]],
    ) -> Report:
        """Run one step.

        Parameters
        ----------
        switching
            True at the first step of the mutual stage.
        next_unlabelled
            Weak and strong views (B, 1, S, S) of the same crops; not called where labels alone train.
        next_labelled
            Labelled crops (B, 1, S, S) and their targets.

        Raises
        ------
        RunError
            The loss or its gradient is not finite. The student is as it was before this step.
        """
        report = Report()
        burning = phase is Phase.BURN_IN and self.rules.burn_in_distils
        distils = burning or phase is Phase.MUTUAL
        if distils:
            self._trace("next.unlabelled")
            weak, strong = next_unlabelled()
        self._trace("next.labelled")
        pixels, targets = next_labelled()
        self.update_teacher(phase, switching)
        branches = self._labelled(pixels, targets)
        if distils:
            branches += self._taught(weak, strong, report)
        self._descend(self.student, self.optimiser, branches, report)
        return report

    def _labelled(self, pixels: Tensor, targets: list[Target]) -> list[Branch]:
        """What labelled crops teach."""
        return [Branch("labelled", pixels, targets)]

    def _taught(self, weak: Tensor, strong: Tensor, report: Report) -> list[Branch]:
        """What the teacher says of the weak views is taught on the strong ones."""
        self._trace("teacher.label")
        report.pseudo = self.labeller(self.teacher, weak)
        return [Branch("unlabelled", strong, report.pseudo, self.rules.unlabelled_weight)]

    def update_teacher(self, phase: Phase, switching: bool) -> None:
        """Frozen in burn-in, the student's copy at the switch, a moving average after it."""
        alone = self.rules.average_decay
        if self.average is not None:
            average_weights(self._module(self.average), self._module(self.student), alone)
        if phase is Phase.BURN_IN:
            return
        if switching:
            self._trace("teacher.copy")
            copy_weights(self._module(self.teacher), self._module(self.average or self.student))
            return
        self._trace("teacher.average")
        decay = alone if phase is Phase.TEACHER else self.rules.decay
        average_weights(self._module(self.teacher), self._module(self.student), decay)

    @staticmethod
    def _module(segmenter: Segmenter) -> nn.Module:
        if not isinstance(segmenter, nn.Module):
            raise TypeError("an engine must be a torch module to be trained")
        return segmenter
