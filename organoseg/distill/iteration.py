"""One step of guided distillation, in the order of Berrada et al. 2023 (methods.md, 1.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from organoseg.core import RunError
from organoseg.distill.schedule import Phase
from organoseg.distill.weights import average_weights, copy_weights
from organoseg.models.protocol import Segmenter, Target

Trace = Callable[[str], None]


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
    """

    unlabelled_weight: float = 2.0
    decay: float = 0.9996
    clip: float = 0.01
    average_decay: float = 0.99


@dataclass
class Report:
    """What one step did."""

    losses: dict[str, float] = field(default_factory=dict)
    total: float = 0.0
    gradient: float = 0.0
    pseudo: list[Target] = field(default_factory=list)


class Iteration:
    """The order of one step, and nothing else: where batches come from and what is logged is the loop's matter.

    Parameters
    ----------
    student, teacher
        Two engines of one kind. The teacher never trains.
    backward
        Called with the loss; the loop's accelerator puts its scaling there.
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
        trace: Trace = lambda part: None,
    ) -> None:
        self.student, self.teacher = student, teacher
        self.optimiser, self.labeller, self.rules = optimiser, labeller, rules
        self.average = average
        self._backward, self._autocast, self._trace = backward, autocast, trace

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
        distils = phase in (Phase.BURN_IN, Phase.MUTUAL)
        if distils:
            self._trace("next.unlabelled")
            weak, strong = next_unlabelled()
        self._trace("next.labelled")
        pixels, targets = next_labelled()
        self.update_teacher(phase, switching)
        pseudo: list[Target] = []
        if distils:
            self._trace("teacher.label")
            pseudo = self.labeller(self.teacher, weak)
            report.pseudo = pseudo
        with self._autocast():
            loss = self._supervised(pixels, targets, report)
            if distils:
                loss = loss + self._unsupervised(strong, pseudo, report)
        self._descend(loss, report)
        return report

    def _descend(self, loss: Tensor, report: Report) -> None:
        report.total = float(loss.detach())
        if not math.isfinite(report.total):
            raise RunError(
                f"the loss is {report.total}",
                remedy="Lower training.learning_rate, or look for broken images; the last checkpoint is whole.",
            )
        self._trace("backward")
        self.optimiser.zero_grad(set_to_none=True)
        self._backward(loss)
        self._trace("clip")
        trained = [p for group in self.optimiser.param_groups for p in group["params"]]
        report.gradient = float(nn.utils.clip_grad_norm_(trained, self.rules.clip))
        if not math.isfinite(report.gradient):
            raise RunError("the gradient is not finite", remedy="Lower training.learning_rate.")
        self._trace("step")
        self.optimiser.step()

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

    def _supervised(self, pixels: Tensor, targets: list[Target], report: Report) -> Tensor:
        self._trace("student.labelled")
        terms = self.student.losses(pixels, targets)
        report.losses |= {f"labelled/{k}": float(v.detach()) for k, v in terms.items()}
        return torch.stack(list(terms.values())).sum()

    def _unsupervised(self, strong: Tensor, targets: list[Target], report: Report) -> Tensor:
        self._trace("student.unlabelled")
        terms = self.student.losses(strong, targets)
        report.losses |= {f"unlabelled/{k}": float(v.detach()) for k, v in terms.items()}
        return self.rules.unlabelled_weight * torch.stack(list(terms.values())).sum()
