"""Frames like brightfield in the layouts that labs have, and manifests of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from organoseg.archive.manifest import ArrayRef, Cells, Manifest, Planes

FRAME, CELL = 4096, 512


@dataclass(frozen=True)
class Layout:
    """How a frame is cut. ``shard``: side of what one file holds."""

    key: str
    title: str
    chunk: int
    shard: int | None = None


LAYOUTS = (
    Layout("c512", "chunk 512", 512),
    Layout("c2048", "chunk 2048", 2048),
    Layout("c4096", "whole frame 4096", 4096),
    Layout("s4096", "shard 4096, inner 512", 512, 4096),
)


def frame(seed: int) -> NDArray[np.uint16]:
    """A 12-bit frame: uneven light, smooth dark blobs, shot noise; (FRAME, FRAME)."""
    rng = np.random.default_rng((seed, 3))
    side = FRAME // 16
    smooth = gaussian_filter(rng.standard_normal((side, side)), 3)
    fine = gaussian_filter(rng.standard_normal((FRAME // 4, FRAME // 4)), 2)
    light = 1800 + 900 * np.kron(smooth, np.ones((16, 16))) + 250 * np.kron(fine, np.ones((4, 4)))
    noisy = light + rng.standard_normal((FRAME, FRAME), np.float32) * np.sqrt(light.clip(1)) / 4
    return noisy.clip(0, 4095).astype(np.uint16)


def make_store(store: Path, layout: Layout, frames: int) -> float:
    """Write the frames as arrays 0, 1, ...; the size on disk over the size of the pixels."""
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    group: Any = zarr.open_group(store, mode="w", zarr_format=3)
    for number in range(frames):
        array = group.create_array(
            str(number),
            shape=(FRAME, FRAME),
            dtype="uint16",
            chunks=(layout.chunk, layout.chunk),
            shards=None if layout.shard is None else (layout.shard, layout.shard),
            compressors=[ZstdCodec(level=3), Crc32cCodec()],
        )
        array[:] = frame(number)
    stored = sum(f.stat().st_size for f in store.rglob("*") if f.is_file())
    return stored / (frames * FRAME * FRAME * 2)


def manifest_of_store(store: Path, layout: Layout, frames: int) -> Manifest:
    """All frames, every cell alike."""
    side = layout.shard or layout.chunk
    arrays = tuple(
        ArrayRef(
            n,
            str(store),
            str(n),
            "yx",
            (FRAME, FRAME),
            (layout.chunk, layout.chunk),
            (side, side),
            group=f"plate {n % 2}",
        )
        for n in range(frames)
    )
    return _manifest(arrays, FRAME // CELL)


def _manifest(arrays: tuple[ArrayRef, ...], per_side: int) -> Manifest:
    count = len(arrays)
    zeros, ones = np.zeros(count, np.int32), np.ones(count, np.float32)
    planes = Planes(
        np.arange(count),
        zeros,
        zeros,
        zeros,
        ones,
        0 * ones,
        ones,
        2 * ones,
        np.arange(count, dtype=np.int64),
    )
    plane = np.repeat(np.arange(count), per_side**2)
    place = np.tile(np.arange(per_side**2), count)
    size = np.full(len(plane), CELL, np.int32)
    ones = np.ones(len(plane), np.float32)
    y, x = place // per_side * CELL, place % per_side * CELL
    return Manifest(arrays, planes, Cells(plane, y, x, size, size, ones, ones))
