"""The stages of a run and which one a step belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Stages of guided distillation (Berrada et al. 2023, section 3), and a last one on labels only."""

    TEACHER = "teacher"
    BURN_IN = "burn_in"
    MUTUAL = "mutual"
    REFINE = "refine"


@dataclass(frozen=True)
class Schedule:
    """Optimiser steps of each stage. A supervised run has only the first."""

    teacher: int
    burn_in: int = 0
    mutual: int = 0
    refine: int = 0

    @property
    def total(self) -> int:
        """Optimiser steps of the whole run."""
        return self.teacher + self.burn_in + self.mutual + self.refine

    @property
    def student(self) -> int:
        """Optimiser steps of the student."""
        return self.total - self.teacher

    def phase(self, step: int) -> Phase:
        """The stage of step ``step``, 0-based."""
        for phase, length in (
            (Phase.TEACHER, self.teacher),
            (Phase.BURN_IN, self.burn_in),
            (Phase.MUTUAL, self.mutual),
        ):
            if step < length:
                return phase
            step -= length
        return Phase.REFINE

    def start(self, phase: Phase) -> int:
        """First step of a stage."""
        starts = {
            Phase.TEACHER: 0,
            Phase.BURN_IN: self.teacher,
            Phase.MUTUAL: self.teacher + self.burn_in,
            Phase.REFINE: self.teacher + self.burn_in + self.mutual,
        }
        return starts[phase]
