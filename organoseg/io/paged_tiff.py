"""TIFF of several pages, one plane at a time: memory for one, however many there are."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError
from organoseg.core.closing import Closing
from organoseg.core.image import AXES
from organoseg.io.damage import decoding
from organoseg.io.grey import grey, supported
from organoseg.io.tiff import (
    PixelSize,
    check_whole,
    decoded,
    full_series,
    pixel_size_of,
    stack_axes,
)


class PagedTiff(Closing):
    """An open file: the same pixels, axes and pixel size as `TiffReader` gives, plane by plane.

    ``axes``: letters of TCZYX; ``shape``: their lengths; ``pixel_size``: (y, x) in µm or None. DataError naming the
    file when it is damaged.
    """

    def __init__(self, path: Path) -> None:
        import tifffile

        self.path = path
        with decoding(path, "TIFF"):
            self._tif = tifffile.TiffFile(path)
            try:
                self._open()
            except BaseException:
                self._tif.close()
                raise

    def _open(self) -> None:
        check_whole(self._tif, self.path)
        self._series = full_series(self._tif, self.path)
        if any(page is None for page in self._series.pages):
            raise DataError("The file is incomplete: planes are missing", where=self.path)
        letters = stack_axes(self._series.axes, self._series.shape)
        lengths = dict(zip(letters, self._series.shape, strict=True))
        kept = [a for a in AXES if a in lengths and (a in "YX" or lengths[a] > 1)]
        if any(n > 1 and a not in (*kept, "S") for a, n in lengths.items()):
            raise ValueError(f"axes {letters} are not among T, C, Z, Y, X")
        self.axes = "".join(kept)
        self.shape = tuple(int(lengths[a]) for a in kept)
        self.pixel_size: PixelSize | None = pixel_size_of(self._tif)
        self._letters = letters
        self._pages = self._by_page()
        self._array: Any = None

    def _by_page(self) -> bool:
        """Whether every page is a plane; else tifffile puts planes together through zarr."""
        leading = math.prod(self.shape[:-2])
        page = self._series.keyframe
        return len(self._series.pages) == leading and set(page.axes) <= set("YXS")

    def plane(self, index: tuple[int, ...]) -> NDArray[Any]:
        """The plane (height, width) at ``index`` along the axes before Y and X."""
        with decoding(self.path, "TIFF"):
            pixels, letters = self._page(index) if self._pages else self._slice(index)
            pixels = decoded(self._tif.pages.first, pixels)
            if "S" in letters and pixels.ndim == len(letters):
                pixels = grey(np.moveaxis(pixels, letters.index("S"), -1))
            letters = letters.replace("S", "")
            return supported(pixels if letters == "YX" else pixels.T, self.path)

    def _page(self, index: tuple[int, ...]) -> tuple[NDArray[Any], str]:
        at = dict(zip(self.axes, index, strict=False))
        number = 0
        for letter, length in zip(self._letters, self._series.shape, strict=True):
            if letter not in "YXS":
                number = number * int(length) + at.get(letter, 0)
        page = self._series.pages[number]
        if page is None:
            raise DataError("The file is incomplete: planes are missing", where=self.path)
        return np.asarray(page.asarray()), str(self._series.keyframe.axes)

    def _slice(self, index: tuple[int, ...]) -> tuple[NDArray[Any], str]:
        import zarr

        if self._array is None:
            found = zarr.open(self._series.aszarr(), mode="r")
            self._array = found if isinstance(found, zarr.Array) else found["0"]
        at = dict(zip(self.axes, index, strict=False))
        chosen = tuple(slice(None) if a in "YXS" else at.get(a, 0) for a in self._letters)
        return np.asarray(self._array[chosen]), "".join(a for a in self._letters if a in "YXS")

    def indices(self) -> itertools.product[tuple[int, ...]]:
        """Every index that `plane` takes."""
        return itertools.product(*map(range, self.shape[:-2]))

    def close(self) -> None:
        """Close the file."""
        self._tif.close()
