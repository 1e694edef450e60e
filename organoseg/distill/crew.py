"""The processes that share a step, as the methods see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from torch import Tensor


class Crew(Protocol):
    """The processes that share a step. All do the same steps and ask the same things in the same order."""

    size: int

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the processes; the tensor itself may be changed."""
        ...

    def any(self, flag: bool) -> bool:
        """Whether it is so in one of them."""
        ...

    def gather(self, items: list[Any]) -> list[Any]:
        """The items of all processes, by rank."""
        ...


class Alone:
    """A crew of one."""

    rank, size, main = 0, 1, True

    def sum(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def any(self, flag: bool) -> bool:
        """The flag."""
        return flag

    def gather(self, items: list[Any]) -> list[Any]:
        """The items of all processes, by rank."""
        return items

    def wait(self) -> None:
        """Until all are here."""


def in_order(names: Iterable[Iterable[str]], branches: Sequence[str]) -> tuple[str, ...]:
    """Names of loss terms, each once: by the order of their branches, then as the first process says that has them.

    Parameters
    ----------
    names
        ``branch/term``, by rank. A process may lack a branch, or meet it later than another one: of uneven shares some
        parts are empty.
    branches
        Names of the branches of the step.
    """
    place = {branch: number for number, branch in enumerate(branches)}
    once = dict.fromkeys(name for mine in names for name in mine)
    return tuple(sorted(once, key=lambda name: place[name.partition("/")[0]]))


class Roll:
    """The names of a step's loss terms in one order, the same in every process of a crew."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._mine: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._all: tuple[str, ...] = ()

    def __call__(self, names: Iterable[str], branches: Sequence[str]) -> tuple[str, ...]:
        """All names of this step, where this process has ``names``. Every process has to ask."""
        mine = (tuple(names), tuple(branches))
        if self._crew.size == 1:
            return in_order([mine[0]], branches)
        # Words are slow to gather, and those of a step are nearly always those of the step before.
        if self._crew.any(mine != self._mine):
            self._mine, self._all = mine, in_order(self._crew.gather([mine[0]]), branches)
        return self._all
