"""What all methods have in common that learn from an archive through a teacher's pseudo-labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from organoseg.training.methods.section import Section

#: What the preset ``paper`` of any method says of pseudo-labels: those of Berrada et al. 2023.
PAPER_LABELS: dict[str, Any] = {
    "filter": "paper",
    "accept": 0.7,
    "views": 1,
    "pool": 0,
    "calibrate": False,
    "copy_paste": 0.0,
    "strong": "paper",
    "teacher_precision": "fp32",
    "unlabelled_includes_labelled": True,
}


class FromArchive(Section):
    """Which archive images are labelled, how a prediction becomes a pseudo-label, and what the student sees."""

    needs_archive: ClassVar[bool] = True
    #: What each preset says beside the defaults.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    preset: Literal["paper", "organoid"] = "organoid"
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

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and isinstance(given.get("preset"), str):
            return {**cls.presets.get(given["preset"], {}), **given}
        return given

    @model_validator(mode="after")
    def _band(self) -> FromArchive:
        if self.filter == "organoid" and self.ignore > self.accept:
            raise ValueError("ignore must not be above accept")
        return self

    def archive_batch(self, labelled: int) -> int:
        """As many as the recipe says, or as many as labelled ones."""
        return self.unlabelled_batch or labelled
