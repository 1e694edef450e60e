"""PNG, JPEG and BMP in."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Image
from organoseg.io.damage import decoding
from organoseg.io.grey import grey, supported

# Pillow's modes that are brightness already.
_GREY_MODES = {"L", "I", "F", "I;16", "I;16B", "I;16L"}


class RasterReader:
    """Reads PNG (up to 16 bits), JPEG and BMP as stored: no EXIF turn, no pixel size from dpi."""

    suffixes = (".png", ".jpg", ".jpeg", ".bmp")

    def read(self, path: Path) -> Image:
        """The image; DataError naming the file when it is damaged or of another format."""
        with decoding(path, "PNG, JPEG or BMP"):
            pixels = _wide_png(path) if _is_wide_png(path) else _pillow(path)
        return Image(supported(pixels, path), name=path.name)


def _pillow(path: Path) -> NDArray[Any]:
    from PIL import Image as Pillow

    with Pillow.open(path, formats=("PNG", "JPEG", "BMP")) as picture:
        picture.load()
        if picture.mode == "1":
            return np.asarray(picture, np.bool_)
        if picture.mode in _GREY_MODES:
            return np.asarray(picture)
        if picture.mode == "LA":
            return grey(np.asarray(picture))
        return grey(np.asarray(picture.convert("RGB")))


def _is_wide_png(path: Path) -> bool:
    """Whether this is a PNG of 16 bits a sample, which Pillow cuts to 8 when it has colour."""
    with path.open("rb") as handle:
        head = handle.read(26)
    return head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 26 and head[24] == 16


def _wide_png(path: Path) -> NDArray[Any]:
    import imagecodecs

    pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
    return grey(pixels) if pixels.ndim == 3 else pixels
