"""Values from outside brought into a pydantic model, or one DataError that says where they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from organoseg.core import DataError

Model = TypeVar("Model", bound=BaseModel)
_SHOWN = 3


def parse(model: type[Model], data: Any, path: Path, kind: str) -> Model:
    """``data`` of the file at ``path`` as a ``model``; DataError naming the places that do not fit a ``kind`` file."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        shown = "; ".join(f"{_place(e['loc'])}: {e['msg']}" for e in found[:_SHOWN])
        rest = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise DataError(
            f"Not a valid {kind} file: {shown}{rest}",
            where=path,
            remedy="Export it again from the labelling tool.",
        ) from error


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc)) or "top level"
