"""Label images in: every organoid has a number of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError
from organoseg.io.damage import decoding

SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".npy", ".gif")
_LOSSY = (".jpg", ".jpeg", ".webp")


def read_label_image(path: Path) -> NDArray[np.int64]:
    """Numbers (H, W), 0 for the background, exactly as they are stored.

    Of a picture with a palette the numbers, not the colours, are taken; colour whose channels are equal is one number.
    Raises DataError for a file that is damaged, has several planes, fractions, negative numbers or real colours, and
    for JPEG, which changes numbers.
    """
    suffix = path.suffix.lower()
    if suffix in _LOSSY:
        raise DataError(
            "A label image cannot be a JPEG: compression changes its numbers",
            where=path,
            remedy="Export the labels again as PNG or TIFF.",
        )
    with decoding(path, "label image"):
        stored = _read(path, suffix)
    return _whole(_one_plane(stored, path), path)


def _read(path: Path, suffix: str) -> NDArray[Any]:
    if suffix in (".tif", ".tiff"):
        import tifffile

        return np.asarray(tifffile.imread(path))
    if suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    if suffix == ".png" and _is_wide(path):
        import imagecodecs

        # Pillow cuts colour of 16 bits to 8.
        return np.asarray(imagecodecs.png_decode(path.read_bytes()))
    from PIL import Image as Pillow

    with Pillow.open(path, formats=("PNG", "BMP", "GIF")) as picture:
        return np.asarray(picture)


def _is_wide(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(26)
    return len(head) == 26 and head[24] == 16


def _one_plane(stored: NDArray[Any], path: Path) -> NDArray[Any]:
    labels = stored
    if labels.ndim > 2:
        labels = np.squeeze(labels)
    if labels.ndim == 3 and labels.shape[-1] in (2, 3, 4):
        colours = labels[..., :3] if labels.shape[-1] > 2 else labels[..., :1]
        if (colours != colours[..., :1]).any():
            raise DataError(
                "The label image is in colour, and colours are no numbers",
                where=path,
                remedy="Export labels as one channel in which every organoid has its number.",
            )
        labels = colours[..., 0]
    if labels.ndim != 2 or labels.size == 0:
        raise DataError(
            f"The label image has the shape {stored.shape}, not (height, width)",
            where=path,
            remedy="Export one plane.",
        )
    return labels


def _whole(labels: NDArray[Any], path: Path) -> NDArray[np.int64]:
    if labels.dtype.kind not in "buif":
        raise DataError(f"A label image of {labels.dtype} holds no numbers", where=path)
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == np.rint(labels))).all():
        raise DataError(
            "The label image holds fractions",
            where=path,
            remedy="It may be a probability map, or was scaled: export the labels themselves.",
        )
    if labels.min() < 0 or labels.max() > 1 << 62:
        raise DataError("The label image holds numbers that no organoid has", where=path)
    return np.ascontiguousarray(labels).astype(np.int64)
