"""One plane out as a TIFF that ImageJ and organoseg read alike."""

from __future__ import annotations

import os
from typing import Any

from organoseg.core import Image, atomic_write


def write_plane(path: str | os.PathLike[str], image: Image) -> None:
    """Write the only plane of an image in its own dtype, without loss, atomically; the pixel size is kept.

    DataError when the image has several planes, RunError when the file cannot be written.
    """
    import tifffile

    options: dict[str, Any] = {"metadata": {"axes": "YX"}}
    if image.pixel_size is not None:
        options["resolution"] = (1 / image.pixel_size[1], 1 / image.pixel_size[0])
        options["metadata"]["unit"] = "um"
    plane = image.plane()
    with atomic_write(path) as handle:
        tifffile.imwrite(handle, plane, imagej=True, compression="zlib", **options)
