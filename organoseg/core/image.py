"""Image: pixels with axes, pixel size, identity and group."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core.errors import DataError
from organoseg.core.hashing import pixel_hash

AXES = "TCZYX"
DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


@dataclass(frozen=True, eq=False)
class Image:
    """One microscope image.

    pixels: uint8, uint16 or float32, one dimension per letter of `axes`, none of them empty.
    axes: letters of TCZYX in that order, ending with YX.
    pixel_size: height and width of one pixel in µm, or None when unknown.
    name: the file name; predictions and labels are matched by it.
    group: plate, well, position or series: what must stay on one side of a split.

    DataError when these do not hold. The pixels are kept read-only.
    """

    pixels: NDArray[Any]
    axes: str = "YX"
    pixel_size: tuple[float, float] | None = None
    name: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        where = self.name or None
        if self.pixels.dtype not in DTYPES:
            raise DataError(
                f"An image holds uint8, uint16 or float32, not {self.pixels.dtype}", where=where
            )
        if self.axes != "".join(a for a in AXES if a in self.axes) or self.axes[-2:] != "YX":
            raise DataError(f"Axes {self.axes!r} are not letters of TCZYX in order", where=where)
        if self.pixels.ndim != len(self.axes) or self.pixels.size == 0:
            raise DataError(
                f"Pixels of shape {self.pixels.shape} do not fit axes {self.axes!r}", where=where
            )
        if self.pixel_size is not None and not all(
            math.isfinite(s) and s > 0 for s in self.pixel_size
        ):
            raise DataError(f"Pixel size {self.pixel_size} is not positive", where=where)
        frozen = self.pixels.view()
        frozen.flags.writeable = False
        object.__setattr__(self, "pixels", frozen)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.pixels.shape))
        return f"Image({self.name!r}, {self.axes} {size} {self.pixels.dtype})"

    @cached_property
    def identity(self) -> str:
        """SHA-256 (hex) of the decoded pixels: the same picture has it under every name."""
        return pixel_hash(self.pixels)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.pixels.shape[-2:]
        return int(height), int(width)

    def plane(self) -> NDArray[Any]:
        """The only plane, (H, W) in the image's dtype; DataError when there are several."""
        if math.prod(self.pixels.shape[:-2]) != 1:
            sizes = ", ".join(f"{a}={n}" for a, n in zip(self.axes, self.pixels.shape, strict=True))
            raise DataError(
                f"The image has several planes: {sizes}",
                where=self.name or None,
                remedy="Choose one time, channel and focus plane, or project them, first",
            )
        return self.pixels.reshape(self.shape)
