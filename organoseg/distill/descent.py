"""The loss of a whole step and its gradient, however many parts and processes it is computed in.

A step's batch may be larger than the memory, or shared by several processes. Every term of a loss is a sum over the
batch divided by a number that belongs to the batch, such as its masks; when parts are divided by the number of the
*whole* batch, their losses and gradients add up to those of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from organoseg.core import RunError
from organoseg.distill.branch import Branch, engine_of
from organoseg.distill.crew import Alone, Crew
from organoseg.distill.divisors import normalisers
from organoseg.distill.terms import Roll
from organoseg.models.protocol import Segmenter, Target

Trace = Callable[[str], None]
#: fp16 steps in a row whose gradient does not fit the format: the scale then is not the fault.
MOST_SKIPS = 50


@dataclass
class Report:
    """What one step did.

    ``skipped``: its gradient did not fit fp16, and the student stayed as it was. ``crops``: seen, by all processes.
    """

    losses: dict[str, float] = field(default_factory=dict)
    total: float = 0.0
    gradient: float = 0.0
    pseudo: list[Target] = field(default_factory=list)
    skipped: bool = False
    crops: int = 0


def _statistics(student: Any) -> list[tuple[Tensor, Tensor]]:
    """Buffers that a forward pass on a GPU may move before it fails, with their values."""
    buffers = student.buffers() if isinstance(student, nn.Module) else ()
    return [(b, b.clone()) for b in buffers if b.is_cuda]


class Descent:
    """One descent of the student: forward over all branches, backward, clip, step.

    Parameters
    ----------
    backward
        Called with a loss; the loop's accelerator puts its scaling there.
    scaler
        Of gradients in fp16.
    parts
        A process' batch is given to the network in so many parts. Raised when the memory does not suffice.
    note
        Takes a sentence for the run's record.
    """

    def __init__(
        self,
        clip: float,
        *,
        backward: Callable[[Tensor], Any] = torch.Tensor.backward,
        autocast: Callable[[], Any] = nullcontext,
        scaler: torch.amp.GradScaler | None = None,
        crew: Crew | None = None,
        parts: int = 1,
        trace: Trace = lambda part: None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.clip, self.scaler, self.parts = clip, scaler, parts
        self.crew: Crew = crew or Alone()
        self._backward, self._autocast, self._trace, self._note = backward, autocast, trace, note
        self._skips = 0
        self._roll = Roll(self.crew)

    def __call__(
        self,
        student: Segmenter,
        optimiser: torch.optim.Optimizer,
        branches: Sequence[Branch],
        report: Report,
    ) -> None:
        """Descend once and write into the report.

        Raises
        ------
        RunError
            The loss or its gradient is not finite, or one crop is more than the memory holds. The student is as it
            was before.
        """
        terms = self._gradients(student, optimiser, branches)
        trained = [p for group in optimiser.param_groups for p in group["params"]]
        self._share(trained)
        self._trace("clip")
        if self.scaler is not None:
            self.scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(trained, self.clip)
        self._read(terms, branches, norm, report)
        self._judge(report)
        self._trace("step")
        if self.scaler is None:
            optimiser.step()
        else:
            self.scaler.step(optimiser)  # leaves out a step whose gradient overflowed
            self.scaler.update()

    # -- forward and backward ------------------------------------------------------------------

    def _gradients(
        self, student: Segmenter, optimiser: torch.optim.Optimizer, branches: Sequence[Branch]
    ) -> dict[str, Tensor]:
        """Gradients of this process' share, and its loss terms, detached."""
        while True:
            optimiser.zero_grad(set_to_none=True)
            terms, error = self._tried(student, branches)
            # A step that one process alone repeats would leave the others waiting for ever.
            failed = error is not None if self.crew.size == 1 else self.crew.any(error is not None)
            if not failed:
                return terms
            optimiser.zero_grad(set_to_none=True)
            self._halve(branches, error)

    def _tried(
        self, student: Segmenter, branches: Sequence[Branch]
    ) -> tuple[dict[str, Tensor], torch.OutOfMemoryError | None]:
        terms: dict[str, Tensor] = {}
        kept = _statistics(student)
        try:
            whole = normalisers(student, branches, self.parts, self.crew, self._autocast)
            for index in range(self.parts):
                self._part(student, branches, whole, index, terms)
        except torch.OutOfMemoryError as error:
            blind = not all(hasattr(engine_of(student, b), "denominators") for b in branches)
            if self.crew.size > 1 and blind and self.parts == 1:
                raise RunError(
                    "the memory of the GPU does not hold this process' share of a batch",
                    where="recipe, training",
                    remedy="Set training.accumulate to 2 or more, or training.checkpointing to true, and go on "
                    "with --resume.",
                ) from error
            for buffer, value in kept:
                buffer.copy_(value)  # the next attempt starts from the same batch statistics
            # The traceback holds the activations; without it the memory is free for the next attempt.
            return {}, error.with_traceback(None)
        finally:
            if self.parts > 1 or self.crew.size > 1:
                for branch in branches:
                    engine_of(student, branch).normaliser = None
        return terms, None

    def _part(
        self,
        student: Segmenter,
        branches: Sequence[Branch],
        whole: Sequence[Callable[[], Any]] | None,
        index: int,
        terms: dict[str, Tensor],
    ) -> None:
        loss: Tensor | None = None
        with self._autocast():
            for number, branch in enumerate(branches):
                some = branch.part(index, self.parts) if self.parts > 1 else branch
                if not len(some.targets):
                    continue
                self._trace(f"student.{branch.name}")
                engine = engine_of(student, branch)
                if whole is not None:
                    engine.normaliser = whole[number]()
                found = engine.losses(some.pixels, some.targets)
                for key, value in found.items():
                    name = f"{branch.name}/{key}"
                    terms[name] = terms[name] + value.detach() if name in terms else value.detach()
                total = torch.stack(list(found.values())).sum()
                total = total if branch.weight == 1 else branch.weight * total
                loss = total if loss is None else loss + total
        if loss is not None:
            self._trace("backward")
            self._backward(loss)

    def _halve(self, branches: Sequence[Branch], error: torch.OutOfMemoryError | None) -> None:
        most = max(len(branch.targets) for branch in branches)
        if self.crew.any(self.parts >= most) if self.crew.size > 1 else self.parts >= most:
            raise RunError(
                "the memory of the GPU does not hold the activations of a single crop",
                where="recipe, training",
                remedy="Set training.checkpointing to true, or take a smaller training.augmentation.crop or a "
                "smaller backbone.",
            ) from error
        self.parts = min(self.parts * 2, most) if self.crew.size == 1 else self.parts * 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._note(
            f"the memory did not hold the batch: it is computed in {self.parts} parts from here on, to the same sums"
        )

    # -- several processes -----------------------------------------------------------------------

    def _share(self, trained: Sequence[nn.Parameter]) -> None:
        """The mean over all processes of every gradient. What has none in some of them counts as 0 there."""
        if self.crew.size == 1:
            return
        device = trained[0].device
        there = torch.tensor([float(p.grad is not None) for p in trained], device=device)
        parts = [
            (p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1).float()
            for p in trained
        ]
        flat = self.crew.sum(torch.cat([there, *parts]))
        some, flat = flat[: len(trained)].tolist(), flat[len(trained) :] / self.crew.size
        for p, found, value in zip(
            trained, some, flat.split([p.numel() for p in trained]), strict=True
        ):
            p.grad = value.view_as(p).to(p.dtype) if found else None

    # -- what came out ---------------------------------------------------------------------------

    def _read(
        self,
        terms: dict[str, Tensor],
        branches: Sequence[Branch],
        norm: Tensor,
        report: Report,
    ) -> None:
        """Bring all figures from the device at once: it is waited for only here."""
        weights = {branch.name: branch.weight for branch in branches}
        names = self._roll(terms, list(weights))
        last = norm.detach().float().reshape(1)
        none = torch.zeros_like(last)
        # What this process has not, because its share of a branch is empty, others may have.
        values = torch.cat([terms[n].float().reshape(1) if n in terms else none for n in names])
        crops = none + sum(len(branch.targets) for branch in branches)
        if self.crew.size > 1:
            both = self.crew.sum(torch.cat([values, crops]))
            values, crops = both[:-1] / self.crew.size, both[-1:]
        *found, gradient, seen = torch.cat([values, last, crops]).tolist()
        report.losses |= dict(zip(names, found, strict=True))
        report.total = sum(weights[k.partition("/")[0]] * v for k, v in report.losses.items())
        report.crops = round(seen)
        report.gradient = gradient

    def _judge(self, report: Report) -> None:
        if not math.isfinite(report.total):
            raise RunError(
                f"the loss is {report.total}",
                remedy="Lower training.learning_rate, or look for broken images; the last checkpoint is whole.",
            )
        report.skipped = not math.isfinite(report.gradient)
        if not report.skipped:
            self._skips = 0
            return
        self._skips += 1
        if self.scaler is None or self._skips > MOST_SKIPS:
            raise RunError("the gradient is not finite", remedy="Lower training.learning_rate.")
