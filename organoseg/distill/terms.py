"""Names of the terms of a step's loss, in one order for all processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from organoseg.distill.crew import Crew


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
