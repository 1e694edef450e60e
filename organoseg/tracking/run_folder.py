"""What a finished run of `predict` has for tracking: its pictures and their organoids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, PositiveFloat, ValidationError

from organoseg.core import DataError, Instances, read_json
from organoseg.io import read_instances

#: Ending of the file beside a picture's organoids that says what is known of it.
FACTS = ".facts.json"


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
    parts = out / "parts"
    found = [path for path in parts.rglob("*.json") if not path.name.endswith(FACTS)]
    if not found:
        raise DataError(
            "this folder holds no results",
            where=out,
            remedy="Give the folder that `organoseg predict --out` wrote.",
        )
    return tuple(_picture(path, parts) for path in sorted(found))


def _picture(path: Path, parts: Path) -> Picture:
    facts_file = path.with_name(path.name.removesuffix(".json") + FACTS)
    try:
        facts = _Facts.model_validate(read_json(facts_file))
    except ValidationError as error:
        raise DataError(
            f"not what is known of a picture: {error.errors()[0]['msg']}",
            where=facts_file,
            remedy="Remove it and run `organoseg predict` again.",
        ) from error
    thumbnail = path.with_name(path.name.removesuffix(".json") + ".jpg")
    return Picture(
        path.relative_to(parts).as_posix().removesuffix(".json"),
        path,
        facts.fields,
        facts.pixel_size,
        thumbnail if thumbnail.exists() else None,
    )
