"""The archive on disk: one zarr group, one checksummed array an image, one index to open by.

archive.zarr/
    zarr.json            the zarr v3 group
    index.json           every entry, so that opening does not walk the tree
    errors.csv           files that could not be read, with the reason (only if there are any)
    images/00000000/     one array an image: zstd, then a CRC-32C on every chunk
"""

from __future__ import annotations

import csv
from collections.abc import Set
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from organoseg.archive.entry import Entry, Pixels, Progress, fill, window
from organoseg.core import DataError, Image, pixel_hash
from organoseg.core.files import read_json

INDEX = "index.json"
ERRORS = "errors.csv"
FORMAT = "organoseg archive 1"

# Open arrays kept at hand; a million-image archive must not hold a million of them.
_OPEN_ARRAYS = 512


class _IndexEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Annotated[str, Field(pattern=r"^images/\d{8,}$")]
    name: str
    shape: tuple[int, int]
    dtype: Literal["uint8", "uint16", "float32"]
    group: str
    pixel_hash: str
    pixel_size: tuple[float, float] | None


class IndexFile(BaseModel):
    """The content of ``index.json``; ``duplicates`` maps a left-out name to the one stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["organoseg archive 1"]
    chunk: Annotated[int, Field(gt=0)]
    entries: list[_IndexEntry]
    duplicates: dict[str, str]


@dataclass(frozen=True, eq=False)
class Archive:
    """An open archive, or a view of one. Pickles as its path and entries; reopens when read."""

    path: Path
    entries: tuple[Entry, ...]
    chunk: int
    duplicates: dict[str, str] = field(default_factory=dict)
    _arrays: dict[str, Any] = field(default_factory=dict, repr=False)

    @staticmethod
    def open(path: Path) -> Archive:
        """Open the archive at ``path``.

        Raises DataError when there is none, it is not one of organoseg's, it is unfinished, or it
        has no images. Chunks are checked when they are read, all of them by `check`.
        """
        path = Path(path)
        if not path.is_dir():
            raise DataError(
                "There is no archive",
                where=path,
                remedy="Make one with: organoseg archive create FOLDER --out ARCHIVE.zarr",
            )
        if not (path / INDEX).is_file() or not (path / "zarr.json").is_file():
            raise DataError(
                "Not an organoseg archive: its index is missing",
                where=path,
                remedy="Make one with: organoseg archive create FOLDER --out ARCHIVE.zarr",
            )
        index = _read_index(path)
        if not index.entries:
            raise DataError(
                "The archive has no images",
                where=path,
                remedy="Make it again from a folder that holds readable images.",
            )
        entries = tuple(Entry(**entry.model_dump()) for entry in index.entries)
        return Archive(path, entries, index.chunk, index.duplicates)

    def __len__(self) -> int:
        return len(self.entries)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def errors(self) -> tuple[tuple[str, str], ...]:
        """(file, reason) of every file that could not be read when the archive was made."""
        path = self.path / ERRORS
        if not path.exists():
            return ()
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.reader(handle))
        return tuple((row[0], row[1]) for row in rows[1:])

    def read(self, index: int) -> Image:
        """The whole image; DataError naming the array and chunk when one is lost or damaged."""
        entry = self.entries[index]
        rows, columns = entry.shape
        pixels = self._region(entry, slice(0, rows), slice(0, columns))
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
        """A view without the images of these pixel hashes: validation and test never train.

        Raises DataError when nothing is left.
        """
        kept = tuple(entry for entry in self.entries if entry.pixel_hash not in hashes)
        if not kept:
            raise DataError(
                "Every image of the archive is also a labelled one",
                where=self.path,
                remedy="Make the archive from images that are not labelled.",
            )
        return replace(self, entries=kept, _arrays={})

    def check(self, progress: Progress | None = None) -> list[str]:
        """What is wrong with the stored pixels, one line an image; empty when all is well.

        Reads every chunk, verifies its checksum and the hash of each whole image.
        """
        found = []
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
        touched = [
            (i, j)
            for i, j in product(
                range(rows.start // self.chunk, (rows.stop - 1) // self.chunk + 1),
                range(columns.start // self.chunk, (columns.stop - 1) // self.chunk + 1),
            )
        ]
        for i, j in touched:
            # Zarr reads a missing chunk as zeros; here every chunk was written, so it is a loss.
            if not (self.path / entry.key / "c" / str(i) / str(j)).is_file():
                raise self._damaged(entry, i, j, "is missing")
        array = self._array(entry)
        try:
            return np.asarray(array[rows, columns])
        except (ValueError, RuntimeError, OSError) as error:
            for i, j in touched:
                self._probe(array, entry, i, j)
            raise DataError(
                f"Array {entry.key} ({entry.name}) cannot be read: {error}",
                where=self.path,
                remedy="Restore the archive from a copy, or make it again.",
            ) from error

    def _probe(self, array: Any, entry: Entry, i: int, j: int) -> None:
        try:
            array.get_block_selection((i, j))
        except (ValueError, RuntimeError, OSError) as error:
            raise self._damaged(entry, i, j, "is damaged") from error

    def _damaged(self, entry: Entry, i: int, j: int, how: str) -> DataError:
        return DataError(
            f"Chunk c/{i}/{j} of array {entry.key} ({entry.name}) {how}",
            where=self.path,
            remedy="Restore the archive from a copy, or make it again.",
        )

    def _array(self, entry: Entry) -> Any:
        array = self._arrays.get(entry.key)
        if array is None:
            array = self._open_array(entry)
            if len(self._arrays) >= _OPEN_ARRAYS:
                self._arrays.clear()
            self._arrays[entry.key] = array
        return array

    def _open_array(self, entry: Entry) -> Any:
        import zarr

        try:
            array = zarr.open_array(self.path / entry.key, mode="r")
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"Array {entry.key} ({entry.name}) cannot be opened: {error}",
                where=self.path,
                remedy="Restore the archive from a copy, or make it again.",
            ) from error
        if array.shape != entry.shape or array.dtype.name != entry.dtype:
            raise DataError(
                f"Array {entry.key} is {array.dtype} {array.shape}, the index says "
                f"{entry.dtype} {entry.shape}",
                where=self.path,
                remedy="Restore the archive from a copy, or make it again.",
            )
        return array


def _read_index(path: Path) -> IndexFile:
    try:
        return IndexFile.model_validate(read_json(path / INDEX))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        raise DataError(
            f"Not an archive of this version of organoseg: {place}: {first['msg']}",
            where=path / INDEX,
            remedy="Restore the archive from a copy, or make it again.",
        ) from error
