"""What the sums of a loss are divided by: numbers of the whole batch, however many parts and processes see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from organoseg.core import UsageError
from organoseg.distill.branch import Branch, engine_of
from organoseg.distill.crew import Crew
from organoseg.models.protocol import Segmenter


class _Divisors:
    """Hands an engine what its sums are divided by, in the order in which it asks."""

    def __init__(self, values: Tensor) -> None:
        self._values, self._asked = values, 0

    def __call__(self, count: Tensor) -> Tensor:
        value = self._values[self._asked : self._asked + count.numel()]
        self._asked += count.numel()
        return value.view_as(count).to(count.dtype)


class _Counting:
    """Writes down what an engine divides by."""

    def __init__(self) -> None:
        self.counts: list[Tensor] = []

    def __call__(self, count: Tensor) -> Tensor:
        self.counts.append(count.detach().reshape(-1).float())
        return count


class _Asking:
    """Asks the other processes whenever an engine divides: right where each sees its batch in one part."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def __call__(self, count: Tensor) -> Tensor:
        return self._crew.sum(count.detach().clone()).clamp(min=1) / self._crew.size


def normalisers(
    student: Segmenter,
    branches: Sequence[Branch],
    parts: int,
    crew: Crew,
    autocast: Callable[[], Any],
) -> list[Callable[[], Any]] | None:
    """For each branch, a maker of what its sums are divided by in the whole batch of all processes.

    None: one process that sees its batch in one part; an engine counts for itself.

    Raises
    ------
    UsageError
        An engine does not say what it divides by.
    """
    if parts == 1 and crew.size == 1:
        return None
    known = all(hasattr(engine_of(student, branch), "denominators") for branch in branches)
    if not known and parts == 1:
        return [partial(_Asking, crew) for _ in branches]
    if not known:
        local = _counted(student, branches, parts, autocast)
    else:
        local = []
        for branch in branches:
            shape = (int(branch.pixels.shape[2]), int(branch.pixels.shape[3]))
            count = engine_of(student, branch).denominators(shape, branch.targets)
            local.append(count.to(branch.pixels.device, torch.float32))
    # A batch without organoids has a loss too. The losses of all processes are averaged at the end.
    whole = crew.sum(torch.cat(local)).clamp(min=1) / crew.size
    return [partial(_Divisors, one) for one in whole.split([len(one) for one in local])]


@torch.no_grad()
def _counted(
    student: Segmenter, branches: Sequence[Branch], parts: int, autocast: Callable[[], Any]
) -> list[Tensor]:
    """The divisors of engines that know them only after a look: one forward more, with the same random numbers.

    What the look leaves behind, such as batch statistics, is put back.
    """
    buffers = student.buffers() if isinstance(student, nn.Module) else ()
    kept = [(b, b.clone()) for b in buffers]
    devices = sorted({b.pixels.device.index or 0 for b in branches if b.pixels.is_cuda})
    found = []
    with torch.random.fork_rng(devices=devices), autocast():
        whole: list[Tensor | None] = [None] * len(branches)
        for index in range(parts):
            for number, branch in enumerate(branches):
                some = branch.part(index, parts)
                if not len(some.targets):
                    continue
                counting = _Counting()
                engine = engine_of(student, branch)
                engine.normaliser = counting
                engine.losses(some.pixels, some.targets)
                counts = torch.cat(counting.counts) if counting.counts else torch.zeros(0)
                before = whole[number]
                whole[number] = counts if before is None else before + counts
        found = [one for one in whole if one is not None]
    for buffer, value in kept:
        buffer.copy_(value)
    if len(found) < len(branches) or not all(len(one) for one in found):
        raise UsageError(
            "this engine does not say what its losses are divided by, so a batch cannot be computed in parts",
            where="recipe, training.accumulate",
            remedy="Set training.accumulate to 1.",
        )
    return found
