"""What a line of the journal may say. Its checksum tells that it is whole, not that it makes sense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from organoseg.core import DataError
from organoseg.review.state import Status

#: What the arrays of `Instances` can hold.
_Id = Annotated[int, Field(ge=1, lt=1 << 62)]
_Class = Annotated[int, Field(ge=0, lt=1 << 31)]
_Side = Annotated[int, Field(ge=0, le=1 << 20)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]

Action = Literal[
    "accept", "reject", "replace", "draw", "split", "merge", "delete", "set_class", "complete", "reopen",
    "undo", "redo",
]  # fmt: skip


class _Strict(BaseModel):
    # Types are meant as they are written: "yes" is no mark, 1.5 no number of an organoid.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MaskLine(_Strict):
    """A mask: corner y, x and height, width of its box, COCO's compressed run lengths within it."""

    box: Annotated[list[_Side], Field(min_length=4, max_length=4)]
    counts: str


class OrganoidLine(_Strict):
    """Fields of an organoid; those that do not change may be absent."""

    mask: MaskLine | None = None
    status: Status | None = None
    category: _Class | None = None
    score: _Finite | None = None
    source: str | None = None
    edited: bool | None = None
    parents: list[_Id] | None = None


class ChangeLine(_Strict):
    """Organoids and their fields before and after; null where there is none."""

    ids: Annotated[list[_Id], Field(min_length=1)]
    before: OrganoidLine | None
    after: OrganoidLine | None

    @model_validator(mode="after")
    def _possible(self) -> ChangeLine:
        if self.before is None and (self.after is None or self.after.mask is None):
            raise ValueError("a new organoid needs a mask")
        return self


class Line(BaseModel):
    """An action; a later version may add fields."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    n: _Id
    action: Action
    image: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    changes: list[ChangeLine] = []
    complete: bool | None = None
    was: bool | None = None
    of: _Id | None = None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    reviewer: str = ""
    at: str = ""
    model: str = ""
    version: str = ""


def checked(record: Mapping[str, Any]) -> Line:
    """The line, known to make sense by itself; DataError says which field does not."""
    try:
        return Line.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        number = record.get("n")
        raise DataError(
            f"Line {number} of the journal is not an action of a review: {place}: {first['msg']}"
        ) from error
