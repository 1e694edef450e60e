"""Small stores with known pixels, and manifests of them, for the tests of the sampler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from organoseg.archive.manifest import ArrayRef, Cells, Manifest, Planes

LAYOUTS: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": 32},
    "odd chunks": {"chunks": 27},
    "whole frame": {"chunks": 100},
    "shards": {"chunks": 32, "shards": 96},
    "version 2": {"chunks": 32, "zarr_format": 2},
    "version 2, blosc": {"chunks": 32, "zarr_format": 2, "blosc": True},
    "gzip": {"chunks": 32, "gzip": True},
    "plain bytes": {"chunks": 40, "plain": True},
    "only zarr reads it": {"chunks": 32, "bz2": True},
}


def write_array(
    store: Path | str,
    path: str,
    pixels: np.ndarray[Any, Any],
    chunks: int = 32,
    shards: int | None = None,
    zarr_format: int = 3,
    **codec: bool,
) -> None:
    """Write pixels (..., H, W) as a zarr array; one codec by name, else zstd and a checksum."""
    from numcodecs import Blosc
    from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec
    from zarr.codecs.numcodecs import BZ2

    lead = pixels.ndim - 2
    compressors: Any = [ZstdCodec(level=1), Crc32cCodec()]
    if zarr_format == 2:
        compressors = [Blosc("lz4")] if codec.get("blosc") else "auto"
    elif codec.get("gzip"):
        compressors = [GzipCodec()]
    elif codec.get("blosc"):
        compressors = [BloscCodec(cname="lz4")]
    elif codec.get("bz2"):
        compressors = [BZ2(level=1)]
    elif codec.get("plain"):
        compressors = None
    array = zarr.create_array(
        store,
        name=path,
        shape=pixels.shape,
        dtype=pixels.dtype,
        chunks=(1,) * lead + (chunks, chunks),
        shards=None if shards is None else (1,) * lead + (shards, shards),
        compressors=compressors,
        zarr_format=zarr_format,  # type: ignore[arg-type]
        config={"write_empty_chunks": True},
    )
    array[:] = pixels


def array_ref(
    url: Path | str, path: str, shape: Sequence[int], chunks: int = 32, **more: Any
) -> ArrayRef:
    """The reference of an array (T, C, Z, Y, X without its first letters)."""
    lead = len(shape) - 2
    shards = more.pop("shards", None) or chunks
    axes = "tczyx"[-len(shape) :]
    return ArrayRef(
        image=more.pop("image", 0),
        url=str(url),
        path=path,
        axes=axes,
        shape=tuple(shape),
        chunks=(1,) * lead + (chunks, chunks),
        stored=(1,) * lead + (shards, shards),
        group=more.pop("group", "a"),
        name=path,
    )


def manifest_of(
    arrays: Sequence[ArrayRef],
    *,
    cell: int = 32,
    focus: dict[tuple[int, int, int, int], float] | None = None,
    twins: dict[tuple[int, int, int, int], int] | None = None,
    empty: set[tuple[int, int, int]] | None = None,
    quarantine: frozenset[Any] = frozenset(),
) -> Manifest:
    """A manifest with every plane and cell of the arrays. Keys are (place of array, t, c, z) or (.., y, x)."""
    rows: list[tuple[Any, ...]] = []
    cells: list[tuple[Any, ...]] = []
    for number, array in enumerate(arrays):
        height, width = array.size
        counts = [array.along(array.shape, axis) for axis in "tcz"]
        for t, c, z in np.ndindex(*counts):
            key = (number, t, c, z)
            sharp = (focus or {}).get(key, 1.0)
            rows.append((*key, sharp, 0.0, 10.0, 20.0, (twins or {}).get(key, -len(rows) - 1)))
            for y in range(0, height, cell):
                for x in range(0, width, cell):
                    bare = (number, y, x) in (empty or set())
                    size = min(cell, height - y), min(cell, width - x)
                    cells.append((len(rows) - 1, y, x, *size, sharp, 0.0 if bare else 0.5))
    planes = Planes(*(np.array(column) for column in zip(*rows, strict=True)))
    return Manifest(
        tuple(arrays), planes, Cells(*(np.array(c) for c in zip(*cells, strict=True))), quarantine
    )
