"""Stores as other programs write them, made with zarr itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from organoseg.archive.picture import picture_of
from organoseg.archive.write_image import write_image
from organoseg.core import Image


def noise(shape: tuple[int, ...], dtype: str = "uint16", seed: int = 0) -> np.ndarray[Any, Any]:
    """Pixels that no two seeds share."""
    return np.random.default_rng(seed).normal(120, 20, shape).clip(1, 255).astype(dtype)


def ome_image(root: zarr.Group, path: str, pixels: Any, axes: str = "tczyx", **array: Any) -> None:
    """An image with two levels, as OME-Zarr 0.4 (a version 2 root) or 0.5."""
    group = root.create_group(path) if path else root
    small = pixels[..., ::2, ::2]
    chunks = array.pop("chunks", (1,) * (pixels.ndim - 2) + (32, 32))
    for name, level in (("0", pixels), ("1", small)):
        cut = tuple(min(c, n) for c, n in zip(chunks, level.shape, strict=True))
        made = group.create_array(name, shape=level.shape, dtype=level.dtype, chunks=cut, **array)
        made[:] = level
    types = {"t": "time", "c": "channel"}
    described: list[dict[str, str]] = [{"name": a, "type": types.get(a, "space")} for a in axes]
    for axis in described[-2:]:
        axis["unit"] = "micrometer"
    scale = [1.0] * (len(axes) - 2)
    datasets = [
        {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": [*scale, 0.5 * 2**n, 0.25 * 2**n]}]}
        for n in (0, 1)
    ]  # fmt: skip
    multiscales = [{"axes": described, "datasets": datasets, "name": path or "image"}]
    v3 = root.metadata.zarr_format == 3
    inner = {"multiscales": multiscales}
    group.attrs.update({"ome": {"version": "0.5", **inner}} if v3 else inner)


def plate(path: Path, version: int) -> None:
    """A plate with wells A/1 and B/2 of two fields each."""
    root = zarr.create_group(path, zarr_format=version)  # type: ignore[arg-type]
    wells = [
        {"path": "A/1", "rowIndex": 0, "columnIndex": 0},
        {"path": "B/2", "rowIndex": 1, "columnIndex": 1},
    ]
    about = {
        "plate": {
            "rows": [{"name": "A"}, {"name": "B"}],
            "columns": [{"name": "1"}, {"name": "2"}],
            "wells": wells,
        }
    }
    root.attrs.update({"ome": {"version": "0.5", **about}} if version == 3 else about)
    for number, well in enumerate(("A/1", "B/2")):
        for field in range(2):
            ome_image(root, f"{well}/{field}", noise((1, 2, 1, 70, 50), seed=10 * number + field))


def our_archive(path: Path, images: list[Image], chunk: int = 32) -> Path:
    """An archive of ours without a catalogue."""
    zarr.create_group(
        path, zarr_format=3, attributes={"organoseg": {"format": "organoseg archive 2"}}
    )
    for number, image in enumerate(images):
        write_image(path, f"images/{number:08d}", picture_of(image), chunk)
    return path
