"""What methods have in common in which a student is taught by a fixed teacher first and by its own average then."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from organoseg.distill.schedule import Schedule
from organoseg.training.methods.from_archive import FromArchive


class TeacherStudent(FromArchive):
    """The stages of such a run, and the averages."""

    teacher_steps: int | None = Field(
        None, ge=1, description="steps of the teacher; null: training.steps"
    )
    burn_in: float = Field(
        0.5, ge=0, le=1, description="share of the student's steps with the frozen teacher"
    )
    refine: float = Field(
        0.0, ge=0, le=0.9, description="share of the student's steps on labels only, at the end"
    )
    half_life: float | None = Field(
        70, gt=0, description="half-life of the EMA in steps; null: decay counts"
    )
    decay: float = Field(0.99, gt=0, lt=1, description="EMA decay, used when half_life is null")
    relabel: bool = Field(True, description="label the pool anew at the switch; false: every batch")
    guard: bool = Field(
        True, description="do not switch to a student that is worse than its teacher"
    )
    average: bool = Field(True, description="keep a running average of the student from the start")

    @property
    def has_teacher(self) -> bool:
        """Whether a trained teacher is given, so that none has to be trained."""
        return False

    def steps_of_teacher(self, steps: int) -> int:
        """Optimiser steps of the teacher, of a student that takes ``steps``."""
        if self.has_teacher:
            return 0
        return steps if self.teacher_steps is None else self.teacher_steps

    def schedule(self, steps: int) -> Schedule:
        """Teacher, burn-in, mutual stage, refinement."""
        burn_in, refine = round(steps * self.burn_in), round(steps * self.refine)
        return Schedule.guided(
            self.steps_of_teacher(steps), burn_in, steps - burn_in - refine, refine
        )

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.burn_in + self.refine > 1:
            raise ValueError("burn_in and refine together are more than the whole run")
        return self
