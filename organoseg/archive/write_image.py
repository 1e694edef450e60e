"""One image into OME-Zarr 0.5: plane by plane, each with all its levels, so that memory stays flat."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.archive.layout import (
    CHUNK,
    ZSTD_LEVEL,
    ImageAttrs,
    chunking,
    level_sizes,
    ome_attrs,
)
from organoseg.archive.picture import Picture, Pixels, Position, trusted
from organoseg.core import pixel_hash
from organoseg.core.intensity import halved

# Even, so that strips of an image halve as the whole does.
_STRIP = 512


def write_image(
    root: Path,
    path: str,
    picture: Picture,
    chunk: int = CHUNK,
    tick: Callable[[], None] | None = None,
) -> dict[str, str]:
    """Write ``picture`` as the group ``path`` of the archive at ``root``; returns its pixel hashes ("t,c,z").

    What lies at ``path`` goes first. ``tick`` is called after each plane. When a plane cannot be read its DataError
    passes through and the group is removed; OSError when the disk does not take it.
    """
    folder = root / path
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return _write(folder, picture, chunk, tick)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write(
    folder: Path, picture: Picture, chunk: int, tick: Callable[[], None] | None
) -> dict[str, str]:
    import zarr

    group = zarr.create_group(folder, zarr_format=3)
    sizes = level_sizes(*picture.size)
    arrays = [_array(group, str(n), picture, size, chunk) for n, size in enumerate(sizes)]
    hashes: dict[str, str] = {}
    for position in picture.positions():
        plane = trusted(picture.read(position), picture)
        hashes[",".join(map(str, position))] = pixel_hash(plane)
        _write_plane(arrays, picture, position, plane)
        if tick is not None:
            tick()
    ours = ImageAttrs(
        name=picture.name,
        group=picture.group,
        pixel_hashes=hashes,
        sources=list(picture.sources),
        fields=dict(picture.fields),
    )
    # Last: a group without attributes is one that was not finished.
    group.update_attributes(
        {
            "ome": ome_attrs(picture.name, picture.axes, len(sizes), picture.pixel_size),
            "organoseg": ours.model_dump(mode="json"),
        }
    )
    return hashes


def _array(group: Any, name: str, picture: Picture, size: tuple[int, int], chunk: int) -> Any:
    from zarr.codecs import Crc32cCodec, ZstdCodec

    leading = picture.shape[:-2]
    ones = (1,) * len(leading)
    inner, shard = chunking(size, chunk)
    return group.create_array(
        name,
        shape=(*leading, *size),
        dtype=picture.dtype,
        chunks=(*ones, *inner),
        shards=None if shard is None else (*ones, *shard),
        # The checksum comes last, so that damage is noticed before zstd sees it.
        compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
        dimension_names=tuple(picture.axes),
        # An all-zero chunk is written too: a chunk that is not there is then always a loss.
        config={"write_empty_chunks": True},
    )


def _write_plane(arrays: list[Any], picture: Picture, position: Position, plane: Pixels) -> None:
    index = picture.index(position)
    for array, level in zip(arrays, levels(plane), strict=True):
        array[index] = level


def levels(plane: Pixels) -> Iterator[Pixels]:
    """The plane and its halved copies, in its dtype; whole numbers are rounded, each from unrounded means."""
    yield plane
    exact: NDArray[Any] = plane
    for _ in level_sizes(*plane.shape)[1:]:
        exact = _halved(exact)
        yield exact if plane.dtype.kind == "f" else np.rint(exact).astype(plane.dtype)


def _halved(pixels: Pixels) -> NDArray[np.float32]:
    """`core.intensity.halved`, in strips: its working copies are many times a whole plane."""
    strips = [halved(pixels[y : y + _STRIP]) for y in range(0, pixels.shape[0], _STRIP)]
    return strips[0] if len(strips) == 1 else np.concatenate(strips)
