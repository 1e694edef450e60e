"""The shape of a COCO file on disk: what a person or another program may write, parsed strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from organoseg.core import DataError

#: Sides of an image are below this, in pixels.
MAX_SIDE = 1 << 20

# What the arrays of Instances can hold.
_Id = Annotated[int, Field(ge=-(1 << 62), le=1 << 62)]
_Class = Annotated[int, Field(ge=0, lt=1 << 31)]
_Score = Annotated[float, Field(ge=-1e30, le=1e30)]
T = TypeVar("T")


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, frozen=True)


class CocoRle(_Model):
    """A run-length mask: ``size`` is (height, width), ``counts`` compressed text or plain runs."""

    size: tuple[int, int]
    counts: str | list[Annotated[int, Field(ge=0)]]


class CocoImage(_Model):
    """One image of a COCO file."""

    id: _Id
    file_name: Annotated[str, Field(min_length=1)]
    height: Annotated[int, Field(gt=0, le=MAX_SIDE)]
    width: Annotated[int, Field(gt=0, le=MAX_SIDE)]


class CocoCategory(_Model):
    """One class of a COCO file."""

    id: _Class
    name: str


class CocoAnnotation(_Model):
    """One organoid of a COCO file; ``score``, ``source`` and ``number`` are written by organoseg itself.

    ``number``: the organoid's id within its image, as tables and overlays show it. With ``iscrowd`` and ``ignore`` both
    1 it is no organoid but a region where nobody looked.
    """

    @property
    def is_region(self) -> bool:
        """A region to ignore."""
        return bool(self.iscrowd and self.ignore)

    id: _Id
    image_id: _Id
    category_id: _Class
    segmentation: list[list[float]] | CocoRle
    iscrowd: Literal[0, 1] = 0
    ignore: Literal[0, 1] = 0
    score: _Score = 1.0
    source: str = ""
    number: Annotated[int, Field(ge=1, le=1 << 62)] | None = None


class CocoResult(_Model):
    """One entry of a bare COCO results list."""

    image_id: _Id
    category_id: _Class
    segmentation: list[list[float]] | CocoRle
    score: _Score


class CocoFile(_Model):
    """A whole COCO instances file."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


class CocoHead(_Model):
    """The part of a COCO instances file that says which images it is about."""

    images: list[CocoImage]


def parse_file(data: Any, path: Path) -> CocoFile:
    """``data`` as a COCO instances file; DataError naming the entries that are not."""
    if not isinstance(data, dict):
        raise DataError(
            f"A COCO instances file is an object with images, annotations and categories, "
            f"not a {type(data).__name__}",
            where=path,
            remedy="A bare list of results has no images: give it as predictions, not as labels.",
        )
    return _parse(TypeAdapter(CocoFile), data, path)


def parse_head(data: Any, path: Path) -> CocoHead:
    """The images of a COCO instances file, without looking at its annotations."""
    return _parse(TypeAdapter(CocoHead), data, path)


def parse_results_list(data: Any, path: Path) -> list[CocoResult]:
    """``data`` as a bare COCO results list; DataError naming the entries that are not."""
    return _parse(TypeAdapter(list[CocoResult]), data, path)


def _parse(adapter: TypeAdapter[T], data: Any, path: Path) -> T:
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        shown = "; ".join(f"{_place(e['loc'])}: {e['msg']}" for e in found[:5])
        rest = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise DataError(
            f"Not a valid COCO file: {shown}{rest}",
            where=path,
            remedy="Export the annotations again as COCO instances with masks.",
        ) from error


def _place(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "top level"
