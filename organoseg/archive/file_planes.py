"""The planes of image files: one file or a stack of files, read one plane at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from organoseg.archive.grammar import natural, stack_name
from organoseg.archive.picture import Picture, Pixels, Position
from organoseg.core import DataError
from organoseg.io.formats import read_image
from organoseg.io.paged_tiff import PagedTiff
from organoseg.io.tiff import TiffReader


@dataclass(frozen=True)
class SourceFile:
    """A file of a stack: its name below the source, and its ``coordinates`` along t, c and z."""

    path: Path
    name: str
    coordinates: Mapping[str, str] = field(default_factory=dict)
    spans: tuple[tuple[int, int, str], ...] = ()


class FileFault(Exception):
    """A file of a stack can not be read."""

    def __init__(self, file: SourceFile, error: DataError) -> None:
        super().__init__(str(error))
        self.file, self.error = file, error


class Misfit(Exception):
    """A file of a stack has another size, type or axes than the first."""


@dataclass(frozen=True)
class _Form:
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class _OpenFile:
    """One file: its form, and its planes at an index along the axes before y and x."""

    def __init__(self, file: SourceFile) -> None:
        self._tiff: PagedTiff | None = None
        try:
            if file.path.suffix.lower() in TiffReader.suffixes and _pages(file.path) > 1:
                self._tiff = PagedTiff(file.path)
                self.pixel_size = self._tiff.pixel_size
                axes, shape = self._tiff.axes, self._tiff.shape
                dtype = self._tiff.plane((0,) * (len(shape) - 2)).dtype
            else:
                image = read_image(file.path)
                self._pixels, self.pixel_size = image.pixels, image.pixel_size
                axes, shape, dtype = image.axes, image.pixels.shape, image.pixels.dtype
        except DataError as error:
            self.close()
            raise FileFault(file, error) from error
        self.form = _Form(axes.lower(), tuple(map(int, shape)), dtype)
        self._file = file

    def plane(self, index: tuple[int, ...]) -> Pixels:
        try:
            return self._pixels[index] if self._tiff is None else self._tiff.plane(index)
        except DataError as error:
            raise FileFault(self._file, error) from error

    def close(self) -> None:
        if self._tiff is not None:
            self._tiff.close()


def _pages(path: Path) -> int:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            return len(tif.pages)
    # Whatever is wrong with it, reading it says so in words.
    except Exception:  # noqa: BLE001
        return 0


def rectangles(files: Sequence[SourceFile]) -> list[list[SourceFile]]:
    """The files in stacks without holes: every time has every channel and z of its stack, and so on."""
    values = {a: {f.coordinates.get(a, "") for f in files} for a in "tcz"}
    if len(values["t"]) * len(values["c"]) * len(values["z"]) == len(files):
        return [sorted(files, key=lambda f: [natural(f.coordinates.get(a, "")) for a in "tcz"])]
    axis = next(a for a in "tcz" if len(values[a]) > 1)
    return [
        part
        for value in sorted(values[axis], key=natural)
        for part in rectangles([f for f in files if f.coordinates.get(axis, "") == value])
    ]


def by_form(files: Sequence[SourceFile]) -> tuple[list[list[SourceFile]], list[FileFault]]:
    """The files that fit together, and the faults of those that cannot be read."""
    parts: dict[_Form, list[SourceFile]] = {}
    faults = []
    for file in files:
        try:
            opened = _OpenFile(file)
        except FileFault as fault:
            faults.append(fault)
        else:
            parts.setdefault(opened.form, []).append(file)
            opened.close()
    return list(parts.values()), faults


class FileStack:
    """Files of one rectangle as a `Picture`; holds one of them open at a time.

    Raises FileFault when the first file cannot be read, Misfit when a file has axes of its own that the names have
    too; reading the picture's planes raises both for the files concerned.
    """

    def __init__(
        self, files: Sequence[SourceFile], group: str, fields: Mapping[str, str | list[str]]
    ) -> None:
        self._files = list(files)
        self._opened, self._at = _OpenFile(files[0]), 0
        form = self._form = self._opened.form
        values = {a: sorted({f.coordinates.get(a, "") for f in files}, key=natural) for a in "tcz"}
        self._named = [a for a in "tcz" if len(values[a]) > 1]
        if set(self._named) & set(form.axes):
            self.close()
            raise Misfit
        lengths = dict(zip(form.axes, form.shape, strict=True))
        lengths.update({a: len(values[a]) for a in self._named})
        axes = "".join(a for a in "tczyx" if a in lengths)
        self._lengths = lengths
        last = {a: values[a][-1] for a in self._named}
        said = {
            word: values[a] if a in last else values[a][0]
            for a, word in (("t", "time"), ("c", "channel"), ("z", "z"))
            if values[a] != [""]
        }
        self.picture = Picture(
            name=stack_name(files[0].name, files[0].spans, last),
            group=group,
            axes=axes,
            shape=tuple(lengths[a] for a in axes),
            dtype=form.dtype,
            read=self._read,
            pixel_size=self._opened.pixel_size,
            sources=tuple(str(f.path) for f in files),
            fields={**fields, **said},
        )

    def _read(self, position: Position) -> Pixels:
        at = dict(zip("tcz", position, strict=True))
        number = 0
        for axis in self._named:
            number = number * self._lengths[axis] + at[axis]
        if number != self._at:
            self.close()
            self._opened, self._at = _OpenFile(self._files[number]), number
            if self._opened.form != self._form:
                raise Misfit
        return self._opened.plane(tuple(at[a] for a in self._form.axes[:-2]))

    def close(self) -> None:
        """Close the open file."""
        self._opened.close()
