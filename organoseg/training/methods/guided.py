"""Guided distillation (Berrada et al. 2023), with its two presets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from organoseg.training.methods.from_archive import PAPER_LABELS
from organoseg.training.methods.teacher_student import TeacherStudent

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


class Guided(TeacherStudent):
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
    second_teacher: Path | None = Field(
        None,
        description="another trained model folder, of any engine: the first pool keeps what both teachers agree on "
        "and ignores what one of them sees alone",
    )
    burn_in_from: Literal["pseudo_labels", "labels"] = Field(
        "pseudo_labels",
        description="what the student learns from until the switch; labels: those of people alone, as before "
        "guided distillation (Liu et al. 2021)",
    )

    @property
    def has_teacher(self) -> bool:
        """Whether a trained teacher is given."""
        return self.teacher is not None

    @property
    def seconded(self) -> bool:
        """Whether the pool knows what one of two teachers sees alone."""
        return self.second_teacher is not None

    @model_validator(mode="after")
    def _second(self) -> Self:
        if self.second_teacher is not None and not self.pool:
            raise ValueError("second_teacher labels a pool, and pool is 0")
        return self
