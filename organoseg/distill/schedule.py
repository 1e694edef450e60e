"""The stages of a run and which one a step belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Stages of the methods: those of guided distillation (Berrada et al. 2023, section 3) and of its kin."""

    TEACHER = "teacher"
    BURN_IN = "burn_in"
    MUTUAL = "mutual"
    REFINE = "refine"
    WARM_UP = "warm_up"
    FINE_TUNE = "fine_tune"
    IMITATION = "imitation"


@dataclass(frozen=True)
class Schedule:
    """Optimiser steps of each stage, in their order."""

    lengths: tuple[tuple[Phase, int], ...]

    @classmethod
    def guided(cls, teacher: int, burn_in: int = 0, mutual: int = 0, refine: int = 0) -> Schedule:
        """The stages of guided distillation. A supervised run has only the first."""
        return cls(
            (
                (Phase.TEACHER, teacher),
                (Phase.BURN_IN, burn_in),
                (Phase.MUTUAL, mutual),
                (Phase.REFINE, refine),
            )
        )

    @property
    def total(self) -> int:
        """Optimiser steps of the whole run."""
        return sum(steps for _, steps in self.lengths)

    def length(self, phase: Phase) -> int:
        """Optimiser steps of a stage; 0 where the run has none."""
        return dict(self.lengths).get(phase, 0)

    @property
    def teacher(self) -> int:
        """Optimiser steps of the first teacher."""
        return self.length(Phase.TEACHER)

    @property
    def student(self) -> int:
        """Optimiser steps of the student: all that are not the teacher's."""
        return self.total - self.teacher

    def phase(self, step: int) -> Phase:
        """The stage of step ``step``, 0-based; the last one for all that follow."""
        for phase, steps in self.lengths:
            if step < steps:
                return phase
            step -= steps
        return self.lengths[-1][0]

    def start(self, phase: Phase) -> int:
        """First step of a stage; of one that this run does not have, the end of the run."""
        first = 0
        for known, steps in self.lengths:
            if known is phase:
                return first
            first += steps
        return first
