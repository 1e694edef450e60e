"""A plain folder of images in the clothes of an archive, for sets too small to convert."""

from __future__ import annotations

import warnings
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path

from organoseg.archive.entry import Entry, Pixels, describe, fill, planes, window
from organoseg.core import DataError, Image
from organoseg.io.formats import find_images, read_image


@dataclass(frozen=True, eq=False)
class FolderArchive:
    """Images read from their files each time. Every file is read once on opening, for its hash."""

    path: Path
    entries: tuple[Entry, ...]
    errors: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def open(path: Path) -> FolderArchive:
        """List the images under ``path``; unreadable files are left out with a warning.

        Raises DataError when there is no such folder, or no image in it can be read.
        """
        path = Path(path)
        if not path.is_dir():
            raise DataError(
                "There is no such archive or folder of images",
                where=path,
                remedy="Make one with: organoseg archive create FOLDER --out ARCHIVE.zarr",
            )
        entries: list[Entry] = []
        errors: list[tuple[str, str]] = []
        seen: set[str] = set()
        for file in find_images([path]):
            name = file.relative_to(path).as_posix()
            try:
                found = list(_planes(path, name))
            except DataError as error:
                errors.append((str(file), str(error)))
                continue
            for position, image in enumerate(found):
                entry = describe(image, f"{position}/{name}")
                if entry.pixel_hash not in seen:
                    seen.add(entry.pixel_hash)
                    entries.append(entry)
        if errors:
            warnings.warn(
                f"{path}: {len(errors)} files cannot be read and are left out, for example "
                f"{errors[0][1]}",
                stacklevel=2,
            )
        if not entries:
            raise DataError(
                "No image in the folder can be read",
                where=path,
                remedy="Check that they are whole and of a supported format.",
            )
        return FolderArchive(path, tuple(entries), tuple(errors))

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, index: int) -> Image:
        """The whole image; DataError when its file has gone or changed its planes."""
        position, name = self.entries[index].key.split("/", maxsplit=1)
        found = list(_planes(self.path, name))
        if int(position) >= len(found) or found[int(position)].shape != self.entries[index].shape:
            raise DataError(
                "The file has changed since the folder was opened",
                where=self.path / name,
                remedy="Leave the folder as it is while it is being used.",
            )
        return found[int(position)]

    def crop(self, index: int, y: int, x: int, height: int, width: int) -> Pixels:
        """Pixels (height, width) at (y, x), reflected where the image ends before the window."""
        rows, columns, lacking = window(self.entries[index], y, x, height, width)
        return fill(self.read(index).pixels[rows, columns], lacking)

    def exclude(self, hashes: Set[str]) -> FolderArchive:
        """The same folder without the images of these pixel hashes; DataError if none is left."""
        kept = tuple(entry for entry in self.entries if entry.pixel_hash not in hashes)
        if not kept:
            raise DataError(
                "Every image of the folder is also a labelled one",
                where=self.path,
                remedy="Give a folder of images that are not labelled.",
            )
        return replace(self, entries=kept)


def _planes(folder: Path, name: str) -> list[Image]:
    return list(planes(replace(read_image(folder / name), name=name)))
