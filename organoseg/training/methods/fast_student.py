"""A fast student of any trained model (Xie et al. 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from organoseg.distill.schedule import Phase, Schedule
from organoseg.training.methods.from_archive import FromArchive

#: Settings of methods that label a pool, or change their teacher; here every batch is labelled by one that stays.
NOT_HERE = (
    "pool", "pool_zooms", "views", "calibrate", "copy_paste", "teacher_precision", "if_nothing",
)  # fmt: skip


class FastStudent(FromArchive):
    """The student of a heavy teacher that stays as it is, on labels and, where there is one, on the archive."""

    needs_archive: ClassVar[bool] = False

    name: Literal["fast_student"] = "fast_student"
    preset: Literal["organoid"] = "organoid"
    teacher: Path = Field(description="the teacher: a trained model folder of any engine")
    teacher_zooms: tuple[Annotated[float, Field(ge=0.25, le=4)], ...] = Field(
        (1.0,),
        min_length=1,
        max_length=4,
        description="enlargement of each turned view the teacher looks at; [0.9, 1.15, 1.4, 1.7] is a thorough look: "
        "a better teacher at seven times its time",
    )
    zero_order: float = Field(
        1.0, ge=0, description="weight of the distance from the teacher's probabilities"
    )
    first_order: float = Field(
        5.0, ge=0, description="weight of the distance from the teacher's consistency maps"
    )
    match: float = Field(
        0.5, gt=0, le=1, description="IoU at which a label and the teacher's instance are a pair"
    )
    refine: float = Field(
        0.0, ge=0, le=0.9, description="share of the steps on labels only, at the end"
    )

    def schedule(self, steps: int) -> Schedule:
        """Imitation, then labels only."""
        refine = round(steps * self.refine)
        return Schedule(((Phase.IMITATION, steps - refine), (Phase.REFINE, refine)))

    @model_validator(mode="after")
    def _no_pool(self) -> FastStudent:
        fields = type(self).model_fields
        given = [k for k in NOT_HERE if getattr(self, k) != fields[k].default]
        if given:
            raise ValueError(f"{given[0]} has no meaning here: the teacher labels every batch")
        return self
