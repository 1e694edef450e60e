"""Which reader reads which file; images found in folders."""

import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from organoseg.core import DataError, Image, UsageError
from organoseg.io.groups import group_of
from organoseg.io.raster import RasterReader
from organoseg.io.tiff import TiffReader
from organoseg.io.vendor import VendorReader


class Reader(Protocol):
    """Reads the image of one file format."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """File name endings in lower case, with their dot."""
        ...

    def read(self, path: Path) -> Image:
        """The image, named after the file; DataError naming the file when it cannot be read."""
        ...


_READERS: dict[str, Reader] = {}


def register(reader: Reader) -> None:
    """Let `read_image` and `find_images` know a reader; UsageError when a suffix is taken."""
    for suffix in reader.suffixes:
        if suffix in _READERS:
            raise UsageError(f"There is a reader for {suffix} already")
    _READERS.update(dict.fromkeys(reader.suffixes, reader))


register(TiffReader())
register(RasterReader())
register(VendorReader())


def suffixes() -> tuple[str, ...]:
    """The file name endings that can be read."""
    return tuple(_READERS)


def read_image(path: str | os.PathLike[str], group: str | None = None) -> Image:
    """Read one image file: uint8, uint16 or float32, colour turned to grey.

    Its name is the file's name; its group is `group`, else what `group_of` says. DataError, naming
    the file, when there is none, it is damaged, or its format is unknown.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise _no_reader(path)
    image = reader.read(path)
    return dataclasses.replace(image, group=group_of(path) if group is None else group)


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The image files among `paths`, and in the folders among them at any depth.

    Each file once, in natural order (2 before 10). Hidden files and folders are left out, links to
    folders not followed. DataError on a path that is not there, a file that no reader knows, or
    when nothing is found.
    """
    found: dict[Path, None] = {}
    given = [Path(path) for path in paths]
    for path in given:
        if path.is_dir():
            found.update(dict.fromkeys(_in_folder(path)))
        elif not path.exists():
            raise DataError("There is no such file or folder", where=path, remedy="Check the path")
        elif path.suffix.lower() not in _READERS:
            raise _no_reader(path)
        else:
            found[path] = None
    if not found:
        raise DataError(
            f"There is no image ({', '.join(_READERS)})",
            where=", ".join(map(str, given[:5])) or None,
            remedy="Give image files, or folders that hold some",
        )
    return sorted(found, key=_natural)


def _in_folder(folder: Path) -> Iterable[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in _READERS:
                yield Path(here) / name


def _natural(path: Path) -> tuple[list[list[tuple[int, str]]], str]:
    """Sort key by which numbers inside names count as numbers."""
    parts = [re.split(r"([0-9]+)", part.casefold()) for part in path.parts]
    keys = [[(int(p), "") if p.isdigit() and p.isascii() else (-1, p) for p in x] for x in parts]
    return keys, str(path)


def _no_reader(path: Path) -> DataError:
    return DataError(
        f"No reader for files that end in {path.suffix or 'nothing'!r}",
        where=path,
        remedy=f"Export it to one of {', '.join(_READERS)}",
    )
