"""Where a project's images lie, and that they are still the same: a picture is known by the hash of its pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from organoseg.archive import Archive
from organoseg.archive.entry import planes
from organoseg.core import DataError, Image, OrganosegError, pixel_hash
from organoseg.io import find_images, read_image
from organoseg.review.coverage import grey_look


@dataclass(frozen=True)
class Place:
    """A file and the plane of it (indices of the leading axes), or an archive and the key of its entry."""

    path: Path
    plane: tuple[int, ...] = ()
    entry: str = ""


@dataclass(frozen=True)
class Picture:
    """One image of a project.

    key: hash of its pixels, by which it is known wherever it lies; name: as results call it; group: what
    stays on one side of a split; shape: (H, W) in px; pixel_size: (height, width) in µm, where it is known; look: what
    its greys are like (`coverage.grey_look`), where they were read.
    """

    key: str
    name: str
    group: str
    shape: tuple[int, int]
    pixel_size: tuple[float, float] | None
    place: Place
    random: bool = False
    look: tuple[float, ...] = field(default=(), compare=False)

    @property
    def path(self) -> Path:
        """The file or archive where it was seen last."""
        return self.place.path


def pictures_of_files(
    paths: Iterable[Path], root: Path
) -> Iterator[tuple[Picture | None, Path, str]]:
    """(picture, file, reason) of every plane of each file; the picture is None and says why where it is unreadable."""
    for path in paths:
        try:
            image = read_image(path)
            name = path.resolve().relative_to(root).as_posix()
            positions = np.ndindex(*image.pixels.shape[:-2])
            made = [
                _picture(plane, Place(path.resolve(), position))
                for plane, position in zip(
                    planes(replace(image, name=name)), positions, strict=True
                )
            ]
        except (OrganosegError, OSError, MemoryError) as error:
            yield None, path, str(error)
        else:
            yield from ((picture, path, "") for picture in made)


def _picture(plane: Image, place: Place) -> Picture:
    return Picture(
        pixel_hash(plane.plane()), plane.name, plane.group, plane.shape, plane.pixel_size, place,
        look=grey_look(plane.plane()),
    )  # fmt: skip


def pictures_of_archive(archive: Archive) -> list[Picture]:
    """Every plane of an archive, without reading a pixel: it keeps their hashes."""
    where = archive.path.resolve()
    return [
        Picture(e.pixel_hash, e.name, e.group, e.shape, e.pixel_size, Place(where, (), e.key))
        for e in archive.entries
    ]


class Reader:
    """Reads pictures; archives stay open between two of them."""

    def __init__(self) -> None:
        self._archives: dict[Path, tuple[Archive, dict[str, int]]] = {}

    def read(self, picture: Picture) -> Image:
        """The picture's plane (H, W), proven to be the one that was reviewed.

        Raises DataError when it is not where it was, cannot be read, or its pixels are others.
        """
        if not picture.place.path.exists():
            raise DataError(
                f"The image {picture.name} is no longer where it was",
                where=picture.place.path,
                remedy="Put it back, or tell where the images are now: organoseg review find PROJECT FOLDER",
            )
        image = self._plane(picture)
        if pixel_hash(image.plane()) != picture.key:
            raise DataError(
                f"The image {picture.name} is not the one that the review began with: its pixels have changed",
                where=picture.place.path,
                remedy="Put the original back. If it was moved: organoseg review find PROJECT FOLDER. "
                "For a new version of the image, make a new project.",
            )
        return replace(image, name=picture.name, group=picture.group)

    def _plane(self, picture: Picture) -> Image:
        place = picture.place
        if place.entry:
            archive, rows = self._archive(place.path)
            if place.entry not in rows:
                raise _gone(picture)
            return archive.read(rows[place.entry])
        image = read_image(place.path)
        if len(place.plane) != image.pixels.ndim - 2:
            raise _gone(picture)
        try:
            return replace(image, pixels=image.pixels[place.plane], axes="YX")
        except IndexError as error:
            raise _gone(picture) from error

    def _archive(self, path: Path) -> tuple[Archive, dict[str, int]]:
        if path not in self._archives:
            archive = Archive.open(path)
            self._archives[path] = archive, {e.key: i for i, e in enumerate(archive.entries)}
        return self._archives[path]


def _gone(picture: Picture) -> DataError:
    return DataError(
        f"{picture.place.path.name} no longer holds the image {picture.name}",
        where=picture.place.path,
        remedy="Put the original back, or make a new project.",
    )


def find_moved(wanted: Iterable[Picture], folder: Path) -> dict[str, Place]:
    """Where in ``folder`` the wanted pictures lie now, by key. Files of the same name are tried first.

    Raises DataError when there is no image in ``folder``.
    """
    missing = {p.key: p for p in wanted}
    names = {p.place.path.name for p in missing.values()}
    found: dict[str, Place] = {}
    candidates = find_images([folder])
    # Two passes in one list: the sort is stable, and False comes before True.
    for path in sorted(candidates, key=lambda p: p.name not in names):
        if not missing:
            break
        for picture, _, _ in pictures_of_files([path], path.resolve().parent):
            if picture is not None and missing.pop(picture.key, None) is not None:
                found[picture.key] = picture.place
    return found


def place_record(place: Place) -> dict[str, Any]:
    """A place as JSON."""
    record: dict[str, Any] = {"path": str(place.path)}
    if place.plane:
        record["plane"] = list(place.plane)
    if place.entry:
        record["entry"] = place.entry
    return record
