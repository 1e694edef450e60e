"""Decoded arrays brought to what an Image holds: one brightness in uint8, uint16 or float32."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError

# Thousandths of red, green and blue in what the eye calls bright (ITU-R BT.601).
_LUMINANCE = (299, 587, 114)


def grey(samples: NDArray[Any]) -> NDArray[Any]:
    """Brightness of samples (..., S), in the same dtype: (...).

    S of 1 or 2 (grey, alpha): the first. S of 3 or 4 (red, green, blue, alpha): one channel where
    all are equal, as with a grey camera, else their luminance (ITU-R BT.601). ValueError else.
    """
    count = samples.shape[-1]
    if count in (1, 2):
        return samples[..., 0]
    if count not in (3, 4):
        raise ValueError(f"{count} samples a pixel are neither grey nor colour")
    red = samples[..., 0]
    if np.array_equal(red, samples[..., 1]) and np.array_equal(red, samples[..., 2]):
        return red
    # Whole numbers stay whole: exact, and half the memory of floats for a large scan.
    exact = samples.dtype.kind == "u" and samples.dtype.itemsize <= 2
    mixed = np.zeros(red.shape, np.uint32 if exact else np.float64)
    for channel, share in enumerate(_LUMINANCE):
        mixed += samples[..., channel] * mixed.dtype.type(share)
    mixed = (mixed + 500) // 1000 if exact else mixed / 1000
    return np.asarray(mixed.astype(samples.dtype))


def supported(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """The same values as uint8, uint16 or float32, contiguous, in native byte order.

    1-bit becomes 0 and 255; wider whole numbers become uint16 where they fit, other floats
    float32. DataError on values that fit none of them, and on NaN or infinity.
    """
    kind = pixels.dtype.kind
    if kind == "b":
        made = pixels.astype(np.uint8) * np.uint8(255)
    elif kind == "f":
        with np.errstate(over="ignore"):
            made = pixels.astype(np.float32)
        if not np.isfinite(made).all():
            raise DataError(
                "The image has NaN, infinite or too large pixels",
                where=path,
                remedy="Replace them and save it again",
            )
    elif kind == "u" and pixels.dtype.itemsize <= 2:
        made = pixels.astype(pixels.dtype.newbyteorder("="))
    elif kind in "ui":
        if pixels.size and (pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max):
            raise DataError(
                f"Pixels from {pixels.min()} to {pixels.max()} do not fit 16 bits",
                where=path,
                remedy="Save it as 16-bit or 32-bit float",
            )
        made = pixels.astype(np.uint16)
    else:
        raise DataError(f"Pixels of type {pixels.dtype} are not brightness", where=path)
    return np.ascontiguousarray(made)
