"""A review project: a folder that knows its images, what a model found in them, and the journal of decisions.

    project.json    id, classes, model, and the pictures in the order of review; written once
    places.json     where pictures were found after they had moved
    found/KEY.json  what the model found in a picture, as COCO; written once
    journal.jsonl   every decision; see `journal`

The images themselves stay where they are and are only ever read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from organoseg.core import DataError, Instances, UsageError, read_json, write_json
from organoseg.io import read_instances
from organoseg.review.pictures import Picture, Place, find_moved, place_record
from organoseg.review.state import ImageState

PROJECT, PLACES, FOUND, JOURNAL, PICTURES = (
    "project.json",
    "places.json",
    "found",
    "journal.jsonl",
    "images",
)
_KEY = r"^[0-9a-f]{64}$"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlaceFile(_Model):
    """Where a picture lies; ``near``: the same, from the project's folder."""

    path: str
    near: str | None = None
    plane: tuple[int, ...] = ()
    entry: str = ""


class PictureFile(_Model):
    """One picture of ``project.json``; the fields of `Picture` and of `queue.Turn`."""

    key: str = Field(pattern=_KEY)
    name: str = Field(min_length=1)
    group: str
    shape: tuple[int, int]
    pixel_size: tuple[float, float] | None = None
    place: PlaceFile
    random: bool = False
    priority: float = 0.0
    organoids: tuple[int, ...] = ()
    priorities: tuple[float, ...] = ()
    reasons: dict[int, str] = {}


class ProjectFile(_Model):
    """``project.json``."""

    format: Literal["organoseg review 1"]
    id: str = Field(min_length=8)
    created: str
    version: str
    model: str = ""
    order: str
    random_share: float
    seed: int
    classes: dict[int, str] = Field(min_length=1)
    pictures: tuple[PictureFile, ...] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class Project:
    """An open project. Its pictures are in the order in which they are to be reviewed."""

    folder: Path
    facts: ProjectFile
    pictures: tuple[Picture, ...]
    _rows: dict[str, int] = field(repr=False)

    @staticmethod
    def open(folder: Path | str) -> Project:
        """The project in ``folder``; DataError when there is none or it is damaged."""
        folder = Path(folder)
        if not (folder / PROJECT).is_file():
            raise DataError(
                "This folder is not a review project",
                where=folder,
                remedy="Make one with: organoseg review open PROJECT --images FOLDER --predictions RUN",
            )
        facts = _checked(folder / PROJECT, read_json(folder / PROJECT))
        moved = _places(folder)
        pictures = tuple(_picture(folder, p, moved.get(p.key, p.place)) for p in facts.pictures)
        rows = {p.key: number for number, p in enumerate(pictures)}
        if len(rows) < len(pictures):
            raise DataError("The project names one picture twice", where=folder / PROJECT)
        return Project(folder, facts, pictures, rows)

    @property
    def id(self) -> str:
        """Told apart from every other project by this."""
        return self.facts.id

    @property
    def classes(self) -> Mapping[int, str]:
        """Names of the classes by COCO category id."""
        return self.facts.classes

    @property
    def journal_path(self) -> Path:
        """The file of decisions."""
        return self.folder / JOURNAL

    def number(self, key: str) -> int:
        """A picture's place in the queue, from 0; UsageError when it is not one of the project."""
        if key not in self._rows:
            raise UsageError("The project has no such image", where=key)
        return self._rows[key]

    def has(self, key: str) -> bool:
        """Whether this picture is one of the project."""
        return key in self._rows

    def picture(self, key: str) -> Picture:
        """The picture of a key; UsageError when it is not one of the project."""
        return self.pictures[self.number(key)]

    def turn(self, key: str) -> PictureFile:
        """Priorities and reasons of a picture's organoids."""
        return self.facts.pictures[self.number(key)]

    def found(self, key: str) -> Instances:
        """What the model found in a picture; DataError when that file is lost or damaged."""
        path = self.folder / FOUND / f"{key}.json"
        picture = self.picture(key)
        if not self.turn(key).organoids:
            return Instances.empty(picture.shape)
        instances = read_instances(path).get(picture.name)
        if instances is None or instances.shape != picture.shape:
            raise DataError(
                "The file is of another picture", where=path, remedy="Restore the project's folder."
            )
        return instances

    def first_state(self, key: str) -> ImageState:
        """A picture's state before any decision."""
        return ImageState.of(self.found(key))

    def find_images(self, folder: Path) -> list[Picture]:
        """Look for pictures that are no longer where they were, and remember where they are now.

        Returns those that are still missing. DataError when ``folder`` has no image.
        """
        lost = [p for p in self.pictures if not p.place.path.exists()]
        places = find_moved(lost, Path(folder)) if lost else {}
        if places:
            stored = {k: v.model_dump() for k, v in _places(self.folder).items()}
            stored |= {key: _record(self.folder, place) for key, place in places.items()}
            write_json(self.folder / PLACES, stored)
        return [p for p in lost if p.key not in places]


def _record(folder: Path, place: Place) -> dict[str, Any]:
    record = place_record(place)
    try:
        record["near"] = Path(os.path.relpath(place.path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        record["near"] = None
    return record


def _checked(path: Path, data: Any) -> ProjectFile:
    try:
        return ProjectFile.model_validate(data)
    except ValidationError as error:
        raise _invalid(path, error) from error


def _places(folder: Path) -> dict[str, PlaceFile]:
    path = folder / PLACES
    if not path.exists():
        return {}
    data = read_json(path)
    try:
        return {key: PlaceFile.model_validate(value) for key, value in dict(data).items()}
    except (ValidationError, TypeError, ValueError) as error:
        raise _invalid(path, error) from error


def _invalid(path: Path, error: Exception) -> DataError:
    text = str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        text = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return DataError(
        f"The review project is damaged, or of another version: {text}",
        where=path,
        remedy="Restore the file from a backup, or open it with the version that wrote it.",
    )


def _picture(folder: Path, stored: PictureFile, where: PlaceFile) -> Picture:
    path = Path(where.path)
    if where.near is not None and not path.exists():
        # The project and its images may have been moved together.
        beside = folder.resolve() / where.near
        path = beside if beside.exists() else path
    place = Place(path, where.plane, where.entry)
    return Picture(
        stored.key,
        stored.name,
        stored.group,
        stored.shape,
        stored.pixel_size,
        place,
        stored.random,
    )


def picture_record(folder: Path, picture: Picture, **turn: Any) -> dict[str, Any]:
    """A picture as it stands in ``project.json``; `turn` has its priorities and reasons."""
    return {
        "key": picture.key,
        "name": picture.name,
        "group": picture.group,
        "shape": picture.shape,
        "pixel_size": picture.pixel_size,
        "place": _record(folder, picture.place),
        "random": picture.random,
        **turn,
    }


def with_found(pictures: Sequence[Picture], drawn: set[str]) -> list[Picture]:
    """The pictures, those in ``drawn`` marked as random ones."""
    return [replace(p, random=p.key in drawn) for p in pictures]
