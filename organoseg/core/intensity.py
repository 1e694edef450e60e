"""The grey values of a plane as the networks want them: the same for archive and labelled images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core.errors import DataError

#: Percentiles that say where a plane's grey values lie. Extremes would follow single hot pixels.
LOW, MIDDLE, HIGH = 0.5, 50.0, 99.5
#: A larger plane is halved until it is at most this large, as the lowest level of an image pyramid is.
LARGEST = 512


def halved(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Means of 2x2 px, float32 (ceil(H/2), ceil(W/2)); an odd last row or column stands for itself twice."""
    padded = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2)), mode="edge")
    quarters = [padded[y::2, x::2].astype(np.float32) for y in (0, 1) for x in (0, 1)]
    mean: NDArray[np.float32] = sum(quarters[1:], quarters[0]) / np.float32(4)
    return mean


def smallest_level(pixels: NDArray[Any]) -> NDArray[Any]:
    """The plane (H, W), halved until its larger side is at most `LARGEST` px."""
    while max(pixels.shape) > LARGEST:
        pixels = halved(pixels)
    return pixels


@dataclass(frozen=True, slots=True)
class Intensity:
    """Percentiles .5, 50 and 99.5 of a plane; the index of an archive keeps them for every plane."""

    low: float
    middle: float
    high: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.low, self.middle, self.high))):
            raise DataError("Percentiles that are not finite", remedy="Index the archive anew.")

    @staticmethod
    def of(pixels: NDArray[Any], where: str | None = None) -> Intensity:
        """Of one plane (H, W) of any dtype, seen at its `smallest_level`.

        DataError (naming `where`) on NaN, infinity or another shape.
        """
        if pixels.ndim != 2 or pixels.size == 0:
            raise DataError(f"One plane (H, W) is needed, not shape {pixels.shape}", where=where)
        small = smallest_level(pixels)
        if not (np.isfinite(small.min()) and np.isfinite(small.max())):
            raise DataError(
                "The image has NaN or infinite pixels", where=where, remedy="Replace them first"
            )
        if small.dtype == np.uint8:
            low, middle, high = _percentiles_of_bytes(small)
        else:
            values = np.percentile(small.astype(np.float32), (LOW, MIDDLE, HIGH))
            low, middle, high = map(float, values)
        if low == high:
            # Less than a percent of the plane is anything but one grey: that percent is the picture.
            low, high = float(small.min()), float(small.max())
        return Intensity(low, middle, high)

    def normalise(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """(x - middle) / half the range, float32 of any shape; zeros where the plane is constant."""
        half = np.float32((self.high - self.low) / 2)
        if half <= 0:
            return np.zeros(pixels.shape, np.float32)
        return (pixels.astype(np.float32) - np.float32(self.middle)) / half


def _percentiles_of_bytes(pixels: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Of uint8, by counting, which is ten times as fast as sorting."""
    counts = np.cumsum(np.bincount(pixels.reshape(-1), minlength=256))
    wanted = np.array([LOW, MIDDLE, HIGH]) / 100 * (pixels.size - 1)
    below = np.floor(wanted)
    first = np.searchsorted(counts, below, side="right").astype(float)
    second = np.searchsorted(counts, np.minimum(below + 1, pixels.size - 1), side="right")
    values = first + (second - first) * (wanted - below)
    return float(values[0]), float(values[1]), float(values[2])


def normalised(pixels: NDArray[Any], where: str | None = None) -> NDArray[np.float32]:
    """One plane (H, W) of any dtype as float32: its middle grey is 0, its usual range about -1 to 1.

    A constant image gives zeros. DataError (naming `where`) on NaN, infinity or another shape.
    """
    return Intensity.of(pixels, where).normalise(pixels)
