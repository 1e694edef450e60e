"""What the archive knows about each image without reading its pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Image, pixel_hash

Progress = Callable[[int, int], None]
Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One unlabelled plane: where it is kept, what it is called, its (height, width) and origin."""

    key: str
    name: str
    shape: tuple[int, int]
    dtype: str
    group: str
    pixel_hash: str
    pixel_size: tuple[float, float] | None = None


def planes(image: Image) -> Iterator[Image]:
    """Each (height, width) plane of ``image`` as an Image of its own; a stack's name tells which.

    Raises DataError for pixels that are not finite: no crop of them could be trained on.
    """
    if image.pixels.dtype.kind == "f" and not np.isfinite(image.pixels).all():
        raise DataError(
            "The image holds NaN or infinite pixels",
            where=image.name,
            remedy="Export it again from the microscope's software.",
        )
    leading = image.pixels.shape[:-2]
    for position in np.ndindex(*leading):
        place = ",".join(
            f"{letter.lower()}={index}"
            for letter, index, length in zip(image.axes, position, leading, strict=False)
            if length > 1
        )
        name = f"{image.name}[{place}]" if place else image.name
        yield replace(image, pixels=image.pixels[position], axes="YX", name=name)


def describe(image: Image, key: str) -> Entry:
    """The entry of a single-plane image that is kept under ``key``."""
    plane = image.plane()
    return Entry(
        key=key,
        name=image.name,
        shape=(int(plane.shape[0]), int(plane.shape[1])),
        dtype=plane.dtype.name,
        group=image.group,
        pixel_hash=pixel_hash(plane),
        pixel_size=image.pixel_size,
    )


def window(
    entry: Entry, y: int, x: int, height: int, width: int
) -> tuple[slice, slice, tuple[int, int]]:
    """The part of the image that a crop covers, and the rows and columns it lacks beyond it.

    Raises DataError when the crop is empty or starts outside the image.
    """
    rows, columns = entry.shape
    if height < 1 or width < 1 or not (0 <= y < rows and 0 <= x < columns):
        raise DataError(
            f"A crop of {height} x {width} at ({y}, {x}) does not start inside an image of "
            f"{rows} x {columns}",
            where=entry.name,
            remedy="Start it inside the image, at least one pixel high and wide.",
        )
    bottom, right = min(y + height, rows), min(x + width, columns)
    return slice(y, bottom), slice(x, right), (height - (bottom - y), width - (right - x))


def fill(pixels: Pixels, lacking: tuple[int, int]) -> Pixels:
    """``pixels`` with ``lacking`` rows and columns reflected onto the far edges."""
    if lacking == (0, 0):
        return pixels
    return np.pad(pixels, ((0, lacking[0]), (0, lacking[1])), mode="reflect")
