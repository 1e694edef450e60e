"""What a finished run of `predict` has for tracking: its pictures and their organoids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, PositiveFloat, ValidationError

from organoseg.core import DataError, Instances, read_json
from organoseg.io import read_instances

#: Folders of a run: organoids, what is known, and a small picture of each image, by its key.
PARTS, FACTS, THUMBNAILS = "parts", "facts", "thumbnails"


class _Facts(BaseModel):
    """Of the facts of a picture, those that tracking needs."""

    fields: dict[str, str] = {}
    pixel_size: tuple[PositiveFloat, PositiveFloat] | None = None


@dataclass(frozen=True)
class Picture:
    """A segmented picture: its key in the run, the file of its organoids, what is known of its place, a small JPEG."""

    key: str
    part: Path
    fields: Mapping[str, str] = field(default_factory=dict)
    pixel_size: tuple[float, float] | None = None
    thumbnail: Path | None = None

    def organoids(self) -> Instances:
        """Its organoids, with the numbers of the run's table. DataError when they cannot be read."""
        found = read_instances(self.part)
        if self.key not in found:
            raise DataError("The file does not hold the picture it is named after", where=self.part)
        return found[self.key]


def pictures_of(out: Path) -> tuple[Picture, ...]:
    """The pictures of a run folder, sorted by key. DataError when it is none."""
    found = sorted((out / PARTS).rglob("*.json"))
    if not found:
        raise DataError(
            "this folder holds no results",
            where=out,
            remedy="Give the folder that `organoseg predict --out` wrote.",
        )
    keys = [path.relative_to(out / PARTS).as_posix().removesuffix(".json") for path in found]
    return tuple(_picture(out, key) for key in keys)


def _picture(out: Path, key: str) -> Picture:
    file = out / FACTS / f"{key}.json"
    try:
        facts = _Facts.model_validate(read_json(file))
    except ValidationError as error:
        raise DataError(
            f"not what is known of a picture: {error.errors()[0]['msg']}",
            where=file,
            remedy="Remove it and run `organoseg predict` again.",
        ) from error
    small = out / THUMBNAILS / f"{key}.jpg"
    return Picture(
        key,
        out / PARTS / f"{key}.json",
        facts.fields,
        facts.pixel_size,
        small if small.exists() else None,
    )
