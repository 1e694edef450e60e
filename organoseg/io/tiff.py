"""TIFF, OME-TIFF and ImageJ TIFF in."""

import logging
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Image
from organoseg.io.damage import decoding
from organoseg.io.grey import grey, supported

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

PixelSize = tuple[float, float]

_AGAIN = "Copy it again"

# Damage raises an error here: what tifffile says beside would reach the terminal as noise.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# µm in one unit, by the spellings OME and ImageJ use.
_UNITS = {
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "\\u00b5m": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "nm": 1e-3,
    "inch": 25400.0,
}


class TiffReader:
    """Reads the one image of a TIFF file, with axes and pixel size where OME or ImageJ state them.

    Pages whose meaning is not stated are taken as focus planes. The print resolution of a plain
    TIFF is no pixel size and is left aside.
    """

    suffixes = (".tif", ".tiff")

    def read(self, path: Path) -> Image:
        """The image; DataError naming the file when it is damaged or holds several images."""
        import tifffile

        with decoding(path, "TIFF"), tifffile.TiffFile(path) as tif:
            pixels, axes = _read(tif, path)
            pixels, axes = _ordered(pixels, axes)
            size = pixel_size_of(tif)
        return Image(supported(pixels, path), axes, size, path.name)


def _read(tif: "TiffFile", path: Path) -> tuple[NDArray[Any], str]:
    """Pixels as stored and tifffile's letters for their axes."""
    first = tif.pages.first
    check_whole(tif, path)
    if len(tif.pages) == 1:
        # The page itself: OME text that contradicts it (EVOS) does not come into play.
        return decoded(first, first.asarray()), first.axes
    series = full_series(tif, path)
    return decoded(first, series.asarray()), series.axes


def full_series(tif: "TiffFile", path: Path) -> "TiffPageSeries":
    """The one image of the file at its full size; DataError when there are several."""
    full = [series for series in tif.series if not series.keyframe.is_reduced]
    if len(full) != 1:
        shapes = ", ".join("x".join(map(str, series.shape)) for series in full[:5])
        raise DataError(
            f"The file holds {len(full)} images ({shapes}), one is expected",
            where=path,
            remedy="Export each as a file of its own",
        )
    return full[0]


def check_whole(tif: "TiffFile", path: Path) -> None:
    """Refuse a file that ends before its pixels do: decoders fill the rest with zeros."""
    size = path.stat().st_size
    for page in tif.pages:
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if not ends or max(ends) > size or min(page.databytecounts) <= 0:
            raise DataError("The file is incomplete: pixels are missing", remedy=_AGAIN, where=path)
    if _next_page(tif) != 0:
        raise DataError("The file is incomplete: pages are missing", remedy=_AGAIN, where=path)


def _next_page(tif: "TiffFile") -> int:
    """Where the last page that could be read says the next one is; 0 means that it is the last."""
    layout, handle = tif.tiff, tif.filehandle
    last = tif.pages[-1].offset
    handle.seek(last)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(last + layout.tagnosize + tags * layout.tagsize)
    (offset,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
    return int(offset)


def decoded(page: "TiffPage", pixels: NDArray[Any]) -> NDArray[Any]:
    """Stored values turned to brightness: palettes looked up, white-is-zero inverted."""
    if page.photometric == 3 and page.colormap is not None:
        colours = np.moveaxis(np.asarray(page.colormap), 0, -1)[pixels]
        return grey((colours >> 8).astype(np.uint8))
    if page.photometric == 0 and pixels.dtype.kind in "bu":
        return ~pixels
    return pixels


def _ordered(pixels: NDArray[Any], axes: str) -> tuple[NDArray[Any], str]:
    """Colour turned to grey, axes of one entry dropped, the rest in the order TCZYX."""
    if "S" in axes:
        pixels = grey(np.moveaxis(pixels, axes.index("S"), -1))
        axes = axes.replace("S", "")
    keep = [
        i for i, (a, n) in enumerate(zip(axes, pixels.shape, strict=False)) if a in "YX" or n > 1
    ]
    pixels = pixels.reshape([pixels.shape[i] for i in keep])
    axes = "".join(axes[i] for i in keep)
    axes = stack_axes(axes, pixels.shape)
    order = [axes.index(a) for a in "TCZYX" if a in axes]
    if len(order) != len(axes) or pixels.ndim != len(axes):
        raise ValueError(f"axes {axes} of {pixels.shape} are not among T, C, Z, Y, X")
    return pixels.transpose(order), "".join(axes[i] for i in order)


def stack_axes(axes: str, shape: tuple[int, ...]) -> str:
    """The axes, with the first of several pages whose meaning is not stated taken as focus planes."""
    if "Z" in (a for a, n in zip(axes, shape, strict=False) if n > 1):
        return axes
    for place, (axis, length) in enumerate(zip(axes, shape, strict=False)):
        if axis in "IQ" and length > 1:
            return axes[:place].replace("Z", "_") + "Z" + axes[place + 1 :].replace("Z", "_")
    return axes


def pixel_size_of(tif: "TiffFile") -> PixelSize | None:
    """(y, x) in µm as OME or ImageJ state it, or None."""
    if tif.is_ome and tif.ome_metadata:
        return _ome_pixel_size(tif.ome_metadata)
    if tif.is_imagej and tif.imagej_metadata:
        unit = _UNITS.get(str(tif.imagej_metadata.get("unit", "")).strip().lower())
        tags = tif.pages.first.tags
        if unit is None or "XResolution" not in tags or "YResolution" not in tags:
            return None
        (x, per_x), (y, per_y) = tags["XResolution"].value, tags["YResolution"].value
        return _plausible(unit * per_y / y, unit * per_x / x) if x and y else None
    return None


def _ome_pixel_size(xml: str) -> PixelSize | None:
    # Attributes of the first Pixels element; a full XML parser would open the door to entity bombs.
    element = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    if element is None:
        return None
    sizes = []
    for axis in "YX":
        size = re.search(rf'\bPhysicalSize{axis}="([^"]+)"', element[0])
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', element[0])
        factor = _UNITS.get(unit[1].lower()) if unit else 1.0
        if size is None or factor is None:
            return None
        sizes.append(float(size[1]) * factor)
    return _plausible(*sizes)


def _plausible(y: float, x: float) -> PixelSize | None:
    return (y, x) if 0 < y < 1e6 and 0 < x < 1e6 else None
