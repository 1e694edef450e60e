"""How an archive lies on disk: names, attributes, chunks, shards and the levels of its pyramids.

archive.zarr/
    zarr.json                   the zarr v3 group: {"organoseg": {"format": "organoseg archive 2"}}
    catalogue.sqlite            the index of every plane (`organoseg archive index`)
    errors.csv                  files that could not be read, with the reason (only if there are any)
    duplicates.csv              pictures met twice, and the name they are stored under (only if any)
    images/00000000/            one image: an OME-Zarr 0.5 group
        zarr.json               `ome` and `organoseg` attributes
        0/ 1/ ...               its levels, each half the size of the one before
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT = "organoseg archive 2"
IMAGES = "images"
ERRORS = "errors.csv"
DUPLICATES = "duplicates.csv"
CATALOGUE = "catalogue.sqlite"
JOURNAL = "build.jsonl"

#: Side of a chunk in pixels: what is decoded at once, and about the size of a training crop.
CHUNK = 512
#: Chunks along a side of a shard: a plane of up to 4096 x 4096 px is one file.
SHARD_CHUNKS = 8
#: Levels are made until the larger side is at most this, in px.
SMALLEST = 512
ZSTD_LEVEL = 3
AXES = "tczyx"
_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


class RootAttrs(BaseModel):
    """`organoseg` attributes of the archive's root group."""

    model_config = ConfigDict(frozen=True)

    format: Literal["organoseg archive 2"]


class ImageAttrs(BaseModel):
    """`organoseg` attributes of an image: where it came from.

    ``name``: its file relative to its source; ``pixel_hashes``: "t,c,z" to `core.pixel_hash` of the plane;
    ``sources``: the files or arrays it was read from; ``fields``: plate, well, site, and what a file name says
    of time, channel and z (a list where they vary).
    """

    model_config = ConfigDict(frozen=True)

    name: str
    group: str
    pixel_hashes: Annotated[dict[str, str], Field(min_length=1)]
    sources: list[str]
    fields: dict[str, str | list[str]] = {}


def partial_of(out: Path) -> Path:
    """Where the archive ``out`` is while it is being made."""
    return out.parent / f".{out.name}.partial"


def lock_of(out: Path) -> Path:
    """What whoever makes the archive ``out`` holds meanwhile; beside it, so that the folder can be renamed."""
    return out.parent / f".{out.name}.lock"


def image_path(number: int) -> str:
    """Path of the image's group in the archive."""
    return f"{IMAGES}/{number:08d}"


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) in px of every level, full size first."""
    sizes = [(height, width)]
    while max(sizes[-1]) > SMALLEST:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def chunking(
    size: tuple[int, int], chunk: int = CHUNK
) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """(height, width) of the chunks of a level of this size, and of its shards; None: one chunk a plane."""
    inner = min(chunk, size[0]), min(chunk, size[1])
    high, wide = (
        step * min(SHARD_CHUNKS, -(-side // step)) for side, step in zip(size, inner, strict=True)
    )
    return inner, None if (high, wide) == inner else (high, wide)


def ome_attrs(
    name: str, axes: str, levels: int, pixel_size: tuple[float, float] | None
) -> dict[str, Any]:
    """`ome` attributes of an image with ``axes`` of tczyx; ``pixel_size`` (y, x) in µm where known."""
    described = [{"name": axis, "type": _TYPES[axis]} for axis in axes]
    if pixel_size is not None:
        for axis in described[-2:]:
            axis["unit"] = "micrometer"
    leading = [1.0] * (len(axes) - 2)
    y, x = pixel_size or (1.0, 1.0)
    datasets = []
    for level in range(levels):
        factor = 2**level
        steps: list[dict[str, Any]] = [
            {"type": "scale", "scale": [*leading, y * factor, x * factor]}
        ]
        if level:
            # A mean of pixels lies between them: their centres, not their corners, are the grid.
            shift = (factor - 1) / 2
            moved = [*([0.0] * len(leading)), y * shift, x * shift]
            steps.append({"type": "translation", "translation": moved})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    scales = {"axes": described, "datasets": datasets, "name": name, "type": "mean"}
    return {"version": "0.5", "multiscales": [scales]}
