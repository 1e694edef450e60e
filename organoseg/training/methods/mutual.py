"""Mutual distillation (Yuan et al. 2022, MKD), with its two presets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from organoseg.training.methods.from_archive import PAPER_LABELS
from organoseg.training.methods.section import Strict
from organoseg.training.methods.teacher_student import TeacherStudent


class Partner(Strict):
    """The second engine of a pair, where it is not the recipe's own with another seed."""

    engine: str = "compact"
    encoder_weights: str | None = Field(
        "mobilenet_v2_imagenet",
        description="a file, a published name, or null for a random encoder",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="the engine's own settings")


class Mutual(TeacherStudent):
    """Two students, each taught by the running average of the other.

    ``paper`` follows the published code (Yuan et al. 2022, arXiv 2208.11499) with the pseudo-labels of instances of
    Berrada et al. 2023, as it is made for classes of pixels; ``organoid`` is ours: pools labelled from several views,
    and docs/methods/mutual.md says what its numbers were chosen by.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            **PAPER_LABELS,
            "teacher_steps": 0,
            "burn_in": 0.0,
            "half_life": None,
            "decay": 0.6,
            "unlabelled_weight": 1.5,
            "cross_weight": 1.0,
            "cut_mix": 1.0,
            "feature_augmentation": 1.5,
            "agreement": "off",
            "guard": False,
            "average": False,
        },
        "organoid": {},
    }

    name: Literal["mutual"] = "mutual"
    partner: Partner | None = Field(
        None, description="the second engine; null: the same one from another seed"
    )
    teachers: tuple[Path, Path] | None = Field(
        None, description="two trained model folders as teachers; null trains them first"
    )
    teacher_steps: int | None = Field(
        None, ge=0, description="steps of the teachers; null: training.steps; 0: none, see burn_in"
    )
    agreement: Literal["keep", "weight", "off"] = Field(
        "keep",
        description="what one teacher sees alone is ignored, counts half, or is taught as what both see",
    )
    cross_weight: float = Field(
        0.0, ge=0, description="factor of the loss against what the other student sees; 0: none"
    )
    cut_mix: float = Field(
        0.0,
        ge=0,
        le=1,
        description="chance that a crop gets rectangles of its neighbour in the batch",
    )
    feature_augmentation: float = Field(
        0.0,
        ge=0,
        description="strength at the end of the run of features varied as their class varies (0: none)",
    )

    @property
    def has_teacher(self) -> bool:
        """Whether two trained teachers are given."""
        return self.teachers is not None

    @property
    def seconded(self) -> bool:
        """Whether what one teacher sees alone is ignored."""
        return self.agreement == "keep"

    @property
    def from_scratch(self) -> bool:
        """Whether there is no teacher before the students: their averages teach from the first step on."""
        return not self.has_teacher and self.teacher_steps == 0

    @model_validator(mode="after")
    def _begin(self) -> Self:
        if self.from_scratch and self.burn_in > 0:
            raise ValueError(
                "burn_in must be 0 where there is no teacher to begin with (teacher_steps 0)"
            )
        if self.from_scratch and self.pool:
            raise ValueError(
                "pool must be 0 where there is no teacher to label it (teacher_steps 0)"
            )
        return self
