"""Class-agnostic warm-up (Qi et al. 2022, "CA-SSL"): where organoids are first, of which class they are last."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from organoseg.core import UsageError
from organoseg.distill.schedule import Phase, Schedule
from organoseg.io.instances_json import ORGANOID
from organoseg.training.methods.from_archive import FromArchive


class ClassAgnostic(FromArchive):
    """A labeller without classes, a network that learns from the archive alone, and its fine-tuning on the labels.

    docs/methods/class_agnostic.md says what its numbers were chosen by.
    """

    name: Literal["class_agnostic"] = "class_agnostic"
    preset: Literal["organoid"] = "organoid"
    teacher: Path | None = Field(
        None,
        description="a trained model folder as labeller, of any engine, its classes as one; null trains one first",
    )
    teacher_steps: int | None = Field(
        None, ge=1, description="steps of the labeller; null: training.steps"
    )
    warm_up: float = Field(
        0.5, gt=0, lt=1, description="share of the network's steps on the archive alone"
    )
    predictor: Literal["auto", "fresh", "copied"] = Field(
        "auto",
        description="what tells classes apart when fine-tuning begins: random, or the filter of the one class for "
        "each; auto: fresh where there are several classes",
    )
    trunk_rate: float = Field(
        0.1, ge=0, le=1, description="factor of the learning rate of all that is not the predictor"
    )
    trunk_share: float = Field(
        0.25, ge=0, le=1, description="share of fine-tuning in which that factor holds"
    )
    fine_tune_rate: float = Field(
        1.0, gt=0, description="factor of every learning rate in fine-tuning"
    )
    average: bool = Field(True, description="keep a running average of the network from the start")
    save_labeller: bool = Field(
        False, description="save the labeller as well, in labeller/: a teacher for other runs"
    )

    @model_validator(mode="after")
    def _meaning(self) -> ClassAgnostic:
        """What other methods read, and this one has no use for, must not look as if it did something."""
        if self.pool < 1:
            raise ValueError("pool must be 1 or more: the archive is labelled once")
        for key in ("unlabelled_weight", "calibrate", "views"):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(
                    f"{key} means nothing here: the archive is labelled once and trained on alone"
                )
        return self

    def schedule(self, steps: int) -> Schedule:
        """Labeller, warm-up, fine-tuning; of the last two at least a step each."""
        if steps < 2:
            raise UsageError(
                "class-agnostic warm-up needs a step of warm-up and one of fine-tuning",
                where="recipe, training.steps",
                remedy="Set it to 2 or more; hundreds are usual.",
            )
        teacher = 0 if self.teacher else self.teacher_steps or steps
        warm_up = min(max(round(steps * self.warm_up), 1), max(steps - 1, 1))
        return Schedule(
            (
                (Phase.TEACHER, teacher),
                (Phase.WARM_UP, warm_up),
                (Phase.FINE_TUNE, steps - warm_up),
            )
        )

    def first_classes(self, classes: tuple[int, ...]) -> tuple[int, ...]:
        """One for all."""
        return tuple(ORGANOID)

    def predictor_for(self, classes: tuple[int, ...]) -> Literal["fresh", "copied"]:
        """How the predictor begins with these classes."""
        if self.predictor == "auto":
            return "fresh" if len(classes) > 1 else "copied"
        return self.predictor
