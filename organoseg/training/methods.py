"""The method section of a recipe: supervised, or guided distillation with its two presets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: What the two presets of guided distillation say. ``paper`` follows Berrada et al. 2023 and the numbers of its
#: published configuration; ``organoid`` is ours, and docs/experiments.md says what each number was chosen by.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "burn_in": 1 / 3,
        "half_life": None,
        "decay": 0.9996,
        "unlabelled_weight": 2.0,
        "filter": "paper",
        "accept": 0.7,
        "views": 1,
        "pool": 0,
        "calibrate": False,
        "copy_paste": 0.0,
        "guard": False,
        "average": False,
        "strong": "paper",
        "teacher_precision": "fp32",
        "unlabelled_includes_labelled": True,
    },
    "organoid": {},
}

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


class Strict(BaseModel):
    """A part of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Supervised(Strict):
    """Labels only."""

    name: Literal["supervised"] = "supervised"


class Guided(Strict):
    """Guided distillation (Berrada et al. 2023), engine-independent."""

    name: Literal["guided"] = "guided"
    preset: Literal["paper", "organoid"] = "organoid"
    teacher: Path | None = Field(
        None, description="a trained model folder as teacher; null trains one first"
    )
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
    unlabelled_weight: float = Field(1.0, ge=0, description="factor of the unlabelled loss")
    unlabelled_batch: int | None = Field(None, ge=1, description="null: as many as labelled")
    filter: Literal["paper", "organoid"] = "organoid"
    accept: float = Field(0.2, ge=0, le=1, description="score from which a prediction teaches")
    ignore: float = Field(
        0.1, ge=0, le=1, description="score from which a prediction is ignored, not background"
    )
    sharpness: float = Field(
        2.0,
        gt=0,
        le=10,
        description="a pseudo-label of score s is taught as s ** sharpness certain",
    )
    calibrate: bool = Field(
        True,
        description="at the switch, choose sharpness anew so that as many organoids are expected",
    )
    power: float = Field(
        1.0, ge=0, description="mask weight of a pseudo-label = certainty ** power"
    )
    nms: float = Field(
        0.7, gt=0, le=1, description="mask IoU above which two pseudo-labels are one organoid"
    )
    background: float = Field(1.0, ge=0, le=1, description="weight of unlabelled background")
    pool: int = Field(
        100,
        ge=0,
        description="archive images labelled at once when a stage begins; 0: every batch; a recipe that "
        "does not say labels a sixth of training.steps, so that labelling keeps its share of the time",
    )
    pool_zooms: tuple[Annotated[float, Field(ge=0.25, le=4)], ...] = Field(
        (0.9, 1.15, 1.4, 1.7),
        min_length=1,
        max_length=4,
        description="enlargement of each turned view that has to agree on them",
    )
    relabel: bool = Field(True, description="label the pool anew at the switch; false: every batch")
    views: int = Field(1, ge=1, le=4, description="views where every batch is labelled by itself")
    strength: float = Field(
        1.0, ge=0, le=2, description="photometric change of the student's unlabelled view; 0: none"
    )
    strong: Literal["organoid", "paper"] = Field(
        "organoid",
        description="what changes the light of the student's view: brightfield's own, or colour jitter and blur",
    )
    teacher_precision: Literal["training", "fp32"] = Field(
        "training", description="number format in which the teacher labels"
    )
    unlabelled_includes_labelled: bool = Field(
        False, description="labelled images are drawn without their labels as well"
    )
    copy_paste: float = Field(
        0.0,
        ge=0,
        le=1,
        description="chance that a labelled organoid is laid over a crop of the pool",
    )
    guard: bool = Field(
        True, description="do not switch to a student that is worse than its teacher"
    )
    average: bool = Field(True, description="keep a running average of the student from the start")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and isinstance(given.get("preset"), str):
            return {**PRESETS.get(given["preset"], {}), **given}
        return given

    @model_validator(mode="after")
    def _order(self) -> Guided:
        if self.filter == "organoid" and self.ignore > self.accept:
            raise ValueError("ignore must not be above accept")
        if self.burn_in + self.refine > 1:
            raise ValueError("burn_in and refine together are more than the whole run")
        return self
