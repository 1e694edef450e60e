"""What the catalogue holds: stores, images, planes and cells, as records and as columns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """A folder or URL that was walked. ``kind``: "organoseg" or "zarr"; ``signature`` changes with its files."""

    id: int
    url: str
    kind: str
    signature: str


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image: ``path`` is its level 0 in the store, ``levels`` all (path, shape), full size first.

    ``axes``: letters of tczyx; ``chunks``: what is decoded at once; ``shards``: what one file holds, None: a chunk;
    ``checksummed``: whether the codec reveals any flipped bit; ``pixel_size``: (y, x) in µm; ``cell``: side in px.
    """

    id: int
    store: int
    path: str
    name: str
    group: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    codec: str
    checksummed: bool
    pixel_size: tuple[float, float] | None
    levels: tuple[tuple[str, tuple[int, ...]], ...]
    fields: dict[str, Any]
    signature: str
    cell: int

    def along(self, axis: str) -> int:
        """Length of an axis, 1 where the image lacks it."""
        place = self.axes.find(axis)
        return self.shape[place] if place >= 0 else 1

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self.along("y"), self.along("x")


@dataclass(frozen=True, slots=True)
class PlaneRecord:
    """One plane. ``probe``: `probe_of` its pixels, "" where they could not be read."""

    id: int
    image: int
    t: int
    c: int
    z: int
    probe: str
    pixel_hash: str | None
    duplicate_of: int | None
    focus: float
    low: float
    middle: float
    high: float


@dataclass(frozen=True, eq=False)
class PlaneTable:
    """All planes in columns; ``duplicate_of`` is a plane's id or -1."""

    id: NDArray[np.int64]
    image: NDArray[np.int32]
    t: NDArray[np.int32]
    c: NDArray[np.int32]
    z: NDArray[np.int32]
    duplicate_of: NDArray[np.int64]
    focus: NDArray[np.float64]
    low: NDArray[np.float64]
    middle: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CellTable:
    """All cells in columns: places int32 (y, x, height, width in px of level 0), statistics float32."""

    image: NDArray[np.int32]
    plane: NDArray[np.int32]
    t: NDArray[np.int32]
    c: NDArray[np.int32]
    z: NDArray[np.int32]
    y: NDArray[np.int32]
    x: NDArray[np.int32]
    height: NDArray[np.int32]
    width: NDArray[np.int32]
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    focus: NDArray[np.float32]
    foreground: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.image)


IMAGE_COLUMNS = (
    "id, store, path, name, grp, axes, shape, dtype, chunks, shards, codec, checksummed, "
    "pixel_size, levels, fields, signature, cell"
)


def image_record(row: Any) -> ImageRecord:
    """From a row of `IMAGE_COLUMNS`."""
    (number, store, path, name, group, axes, shape, dtype, chunks, shards, codec, checked, size,
     levels, fields, signature, cell) = row  # fmt: skip
    return ImageRecord(
        number, store, path, name, group, axes, tuple(json.loads(shape)), dtype,
        tuple(json.loads(chunks)), None if shards is None else tuple(json.loads(shards)), codec,
        bool(checked), None if size is None else tuple(json.loads(size)),
        tuple((p, tuple(s)) for p, s in json.loads(levels)), json.loads(fields), signature, cell,
    )  # fmt: skip


def image_row(image: ImageRecord) -> tuple[Any, ...]:
    """The row of `IMAGE_COLUMNS` without its id."""
    return (
        image.store, image.path, image.name, image.group, image.axes, json.dumps(image.shape),
        image.dtype, json.dumps(image.chunks), image.shards and json.dumps(image.shards),
        image.codec, int(image.checksummed), image.pixel_size and json.dumps(image.pixel_size),
        json.dumps(image.levels), json.dumps(image.fields), image.signature, image.cell,
    )  # fmt: skip
