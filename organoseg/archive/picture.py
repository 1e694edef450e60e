"""An image on its way into the archive: what it is, and its planes one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Image

Pixels = NDArray[Any]
#: Place of a plane along t, c and z; 0 along an axis that the image lacks.
Position = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Picture:
    """One image to store. ``read`` gives a plane (height, width) of ``dtype``, DataError when it cannot.

    ``axes``: letters of tczyx in that order, ending in yx; ``pixel_size``: (y, x) in µm; ``channels``: names, where
    they are known.
    """

    name: str
    group: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Position], Pixels]
    pixel_size: tuple[float, float] | None = None
    sources: tuple[str, ...] = ()
    fields: Mapping[str, str | list[str]] = field(default_factory=dict)
    channels: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self.shape[-2], self.shape[-1]

    def positions(self) -> Iterator[Position]:
        """Every plane's place, z fastest."""
        lengths = [self.shape[self.axes.index(a)] if a in self.axes else 1 for a in "tcz"]
        times, channels, planes = map(range, lengths)
        yield from product(times, channels, planes)

    def index(self, position: Position) -> tuple[int, ...]:
        """The place in an array of ``shape``, without y and x."""
        return tuple(i for a, i in zip("tcz", position, strict=True) if a in self.axes)


def picture_of(image: Image) -> Picture:
    """An image in memory as a Picture."""
    axes = image.axes.lower()
    picture = Picture(
        name=image.name,
        group=image.group,
        axes=axes,
        shape=tuple(map(int, image.pixels.shape)),
        dtype=image.pixels.dtype,
        read=lambda position: image.pixels,
        pixel_size=image.pixel_size,
        sources=(image.name,),
    )
    return replace(picture, read=lambda position: image.pixels[picture.index(position)])


def trusted(pixels: Pixels, picture: Picture) -> Pixels:
    """The plane as it may be stored; DataError when it is not finite, or not of the picture's shape and dtype."""
    if pixels.shape != picture.size or pixels.dtype != picture.dtype:
        raise DataError(
            f"A plane of {pixels.dtype} {pixels.shape} in an image of {picture.dtype} {picture.size}",
            where=picture.name,
            remedy="Store images of one size and type together.",
        )
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(
            "The image holds NaN or infinite pixels",
            where=picture.name,
            remedy="Export it again from the microscope's software.",
        )
    return pixels


def identity(axes: str, hashes: Mapping[str, str]) -> str:
    """SHA-256 (hex) of an image's axes and the pixel hashes of all its planes."""
    digest = hashlib.sha256(axes.encode())
    for place, plane in hashes.items():
        digest.update(f"{place}={plane};".encode())
    return digest.hexdigest()
