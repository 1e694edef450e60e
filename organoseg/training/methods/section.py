"""What every section of a recipe keeps to, and what a method says of itself."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A part of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Section(Strict):
    """The method section of a recipe."""

    #: Whether it learns from unlabelled images.
    needs_archive: ClassVar[bool] = False

    def archive_batch(self, labelled: int) -> int:
        """Unlabelled crops of a step whose labelled batch has so many."""
        return 0
