"""Guided distillation (Berrada et al. 2023), with its two presets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from organoseg.training.methods.from_archive import PAPER_LABELS, FromArchive

#: What preset ``paper`` says of the optimiser; with a few hundred steps a recipe should say something else.
PAPER_TRAINING: dict[str, Any] = {
    "learning_rate": 1e-4,
    "weight_decay": 0.05,
    "clip": 0.01,
    "schedule": "poly",
    "warmup": 0,
}
#: ... and of the weak views: the Cityscapes recipe's.
PAPER_VIEWS: dict[str, Any] = {"scale": (0.5, 2.0), "light": "ssd"}


class Guided(FromArchive):
    """Guided distillation, engine-independent.

    ``paper`` follows Berrada et al. 2023 and the numbers of its published configuration; ``organoid`` is ours, and
    docs/experiments.md says what each number was chosen by.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            **PAPER_LABELS,
            "burn_in": 1 / 3,
            "half_life": None,
            "decay": 0.9996,
            "unlabelled_weight": 2.0,
            "guard": False,
            "average": False,
        },
        "organoid": {},
    }

    name: Literal["guided"] = "guided"
    teacher: Path | None = Field(
        None, description="a trained model folder as teacher; null trains one first"
    )
    teacher_steps: int | None = Field(
        None, ge=1, description="steps of the teacher; null: training.steps"
    )
    burn_in: float = Field(
        0.5, ge=0, le=1, description="share of the student's steps with the frozen teacher"
    )
    burn_in_from: Literal["pseudo_labels", "labels"] = Field(
        "pseudo_labels",
        description="what the student learns from until the switch; labels: those of people alone, as before "
        "guided distillation (Liu et al. 2021)",
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

    @model_validator(mode="after")
    def _order(self) -> Guided:
        if self.burn_in + self.refine > 1:
            raise ValueError("burn_in and refine together are more than the whole run")
        return self
