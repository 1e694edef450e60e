"""An archive that was made: its planes, read with every loss noticed. `layout` says how it lies on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from organoseg.archive.chunk_reader import ChunkReader
from organoseg.archive.entry import Entry, Pixels, Progress, fill, window
from organoseg.archive.layout import (
    DUPLICATES,
    ERRORS,
    IMAGES,
    ImageAttrs,
    RootAttrs,
    partial_of,
)
from organoseg.archive.manifest import ArrayRef
from organoseg.archive.tables import rows_of
from organoseg.archive.tasks import Place, Task
from organoseg.core import DataError, Image, pixel_hash
from organoseg.core.files import read_json

_MAKE = "Make one with: organoseg archive create FOLDER --out ARCHIVE.zarr"
_AGAIN = "Restore the archive from a copy, or make it again."


@dataclass(frozen=True, eq=False)
class Archive:
    """An open archive, or a view of one; one entry a plane. Pickles as its entries; reopens when read."""

    path: Path
    entries: tuple[Entry, ...]
    arrays: dict[str, ArrayRef] = field(repr=False)
    _reader: ChunkReader = field(default_factory=ChunkReader, repr=False)

    @staticmethod
    def open(path: Path) -> Archive:
        """Open the archive at ``path``.

        Raises DataError when there is none, it is not one of organoseg's, it is unfinished, or it has no images.
        Chunks are checked when they are read, all of them by `check`.
        """
        path = Path(path)
        _check_root(path)
        entries: list[Entry] = []
        arrays: dict[str, ArrayRef] = {}
        folder = path / IMAGES
        for name in sorted(p.name for p in folder.iterdir()) if folder.is_dir() else ():
            if name.isdigit():
                array, found = _image(path, f"{IMAGES}/{name}")
                arrays[f"{IMAGES}/{name}"] = array
                entries.extend(found)
        if not entries:
            raise DataError(
                "The archive has no images",
                where=path,
                remedy="Make it again from a folder that holds readable images.",
            )
        return Archive(path, tuple(entries), arrays)

    def __len__(self) -> int:
        return len(self.entries)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _reader=ChunkReader())

    @property
    def errors(self) -> tuple[tuple[str, str], ...]:
        """(file, reason) of every file that could not be read when the archive was made."""
        return tuple(rows_of(self.path / ERRORS))

    @property
    def duplicates(self) -> dict[str, str]:
        """Pictures that were met twice: the name that was left out, and the one it is stored under."""
        return dict(rows_of(self.path / DUPLICATES))

    def read(self, index: int) -> Image:
        """The whole plane; DataError naming the array and chunk when one is lost or damaged."""
        entry = self.entries[index]
        pixels = self._region(entry, slice(0, entry.shape[0]), slice(0, entry.shape[1]))
        return Image(pixels, pixel_size=entry.pixel_size, name=entry.name, group=entry.group)

    def crop(self, index: int, y: int, x: int, height: int, width: int) -> Pixels:
        """Pixels (height, width) at (y, x), in the stored dtype, reading only the chunks needed.

        Reflected where the image ends before the window does. Raises DataError when the window
        starts outside the image, or a chunk is lost or damaged.
        """
        entry = self.entries[index]
        rows, columns, lacking = window(entry, y, x, height, width)
        return fill(self._region(entry, rows, columns), lacking)

    def exclude(self, hashes: Set[str]) -> Archive:
        """A view without the planes of these pixel hashes: validation and test never train.

        Raises DataError when nothing is left.
        """
        kept = tuple(entry for entry in self.entries if entry.pixel_hash not in hashes)
        if not kept:
            raise DataError(
                "Every image of the archive is also a labelled one",
                where=self.path,
                remedy="Give an archive of images that are not labelled.",
            )
        return replace(self, entries=kept)

    def check(self, progress: Progress | None = None) -> list[str]:
        """Read every plane at full size and say what is lost, damaged or not what was stored."""
        found: list[str] = []
        for number, entry in enumerate(self.entries):
            try:
                pixels = self.read(number).pixels
            except DataError as error:
                found.append(str(error))
            else:
                if pixel_hash(pixels) != entry.pixel_hash:
                    found.append(f"{entry.key} ({entry.name}): not the pixels that were stored")
            if progress:
                progress(number + 1, len(self))
        return found

    def _region(self, entry: Entry, rows: slice, columns: slice) -> Pixels:
        image, _, place = entry.key.partition(" ")
        t, c, z = (int(n) for n in place.split(","))
        height, width = rows.stop - rows.start, columns.stop - columns.start
        window = Place(t, c, (z,), rows.start, columns.start, height, width)
        reply = self._reader.read(Task(self.arrays[image], (window,)))
        pixels = reply.pixels[0]
        if pixels is None:
            lost = reply.lost[0]
            raise DataError(
                f"Chunk {lost.chunk} of array {lost.path} ({entry.name}) cannot be read: {lost.reason}",
                where=self.path,
                remedy=_AGAIN,
            )
        return pixels


def stored_planes(root: Path, path: str) -> Iterator[tuple[str, Pixels]]:
    """(pixel hash, plane) of every plane of an image; DataError when one is lost or damaged."""
    array, entries = _image(root, path)
    whole = Archive(root, tuple(entries), {path: array})
    for number, entry in enumerate(entries):
        yield entry.pixel_hash, whole.read(number).pixels


def _check_root(path: Path) -> None:
    if not path.is_dir():
        unfinished = partial_of(path)
        remedy = f"It is unfinished ({unfinished}): run its `archive create` again."
        raise DataError(
            "There is no archive", where=path, remedy=remedy if unfinished.exists() else _MAKE
        )
    if (path / "index.json").is_file():
        raise DataError(
            "The archive was made by an earlier version of organoseg",
            where=path,
            remedy="Make it again with: organoseg archive create FOLDER --out ARCHIVE.zarr",
        )
    if not (path / "zarr.json").is_file():
        raise DataError("Not an organoseg archive", where=path, remedy=_MAKE)
    fields = read_json(path / "zarr.json")
    try:
        RootAttrs.model_validate(fields["attributes"]["organoseg"])
    except (ValidationError, KeyError, TypeError) as error:
        raise DataError(
            "Not an archive of this version of organoseg",
            where=path,
            remedy="Copy a store of another maker with: organoseg archive create STORE --out ARCHIVE.zarr",
        ) from error


def _image(root: Path, path: str) -> tuple[ArrayRef, list[Entry]]:
    """The full-size array of an image and the entries of its planes."""
    file = root / path / "zarr.json"
    try:
        attributes = json.loads(file.read_bytes())["attributes"]
        ours = ImageAttrs.model_validate(attributes["organoseg"])
        scales = attributes["ome"]["multiscales"][0]
        axes = "".join(axis["name"] for axis in scales["axes"])
        array = json.loads((root / path / "0" / "zarr.json").read_bytes())
        shape = tuple(int(n) for n in array["shape"])
        inner = stored = tuple(int(n) for n in array["chunk_grid"]["configuration"]["chunk_shape"])
        if array["codecs"][0]["name"] == "sharding_indexed":
            inner = tuple(int(n) for n in array["codecs"][0]["configuration"]["chunk_shape"])
        size = _pixel_size(scales)
        dtype = str(array["data_type"])
        ref = ArrayRef(0, str(root), f"{path}/0", axes, shape, inner, stored)
        entries = [
            Entry(
                key=f"{path} {place}",
                name=ours.name + _suffix(place, axes, shape),
                shape=ref.size,
                dtype=dtype,
                group=ours.group,
                pixel_hash=digest,
                pixel_size=size,
            )
            for place, digest in ours.pixel_hashes.items()
        ]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        # The second line of pydantic's own text names the field.
        reason = ": ".join(str(error).split("\n")[:2])
        raise DataError(
            f"The metadata of image {path} are lost or damaged: {reason}", where=root, remedy=_AGAIN
        ) from error
    return ref, entries


def _suffix(place: str, axes: str, shape: tuple[int, ...]) -> str:
    """Which plane of a stack it is: `[z=3]`; nothing for an image of one plane."""
    indices = dict(zip("tcz", place.split(","), strict=True))
    shown = [f"{a}={indices[a]}" for a in "tcz" if a in axes and shape[axes.index(a)] > 1]
    return f"[{','.join(shown)}]" if shown else ""


def _pixel_size(scales: dict[str, Any]) -> tuple[float, float] | None:
    if scales["axes"][-1].get("unit") != "micrometer":
        return None
    y, x = scales["datasets"][0]["coordinateTransformations"][0]["scale"][-2:]
    return float(y), float(x)
