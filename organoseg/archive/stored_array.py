"""What zarr's metadata say of one array: `zarr.json` of version 3, `.zarray` of version 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_CHECKS = {
    "crc32c",
    "crc32",
    "fletcher32",
    "adler32",
    "zlib",
    "gzip",
    "numcodecs.crc32",
    "numcodecs.zlib",
}


@dataclass(frozen=True)
class StoredArray:
    """An array of numbers. chunks: of one read; shards: where several chunks lie in one file; checksummed: whether
    damage is seen when a chunk is decoded; names: of its axes, as far as it has any.
    """

    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    codec: str
    checksummed: bool
    names: tuple[str | None, ...]


class NoPicture(Exception):
    """Why an array or an image of the store cannot be shown."""


def array_v3(data: dict[str, Any]) -> StoredArray:
    """Of version 3. NoPicture when it holds no numbers; KeyError and the like when it is damaged."""
    if not isinstance(data["data_type"], str):
        raise NoPicture(f"data type {data['data_type']} is no picture")
    chunks = tuple(data["chunk_grid"]["configuration"]["chunk_shape"])
    codecs, shards = data["codecs"], None
    if codecs[0]["name"] == "sharding_indexed":
        shards, chunks = chunks, tuple(codecs[0]["configuration"]["chunk_shape"])
        codecs = codecs[0]["configuration"]["codecs"]
    names = [str(codec["name"]) for codec in codecs if codec["name"] != "bytes"]
    zstd = any(
        c["name"] == "zstd" and (c.get("configuration") or {}).get("checksum") for c in codecs
    )
    if zstd:
        names = [f"{n}+checksum" if n == "zstd" else n for n in names]
    return _checked(
        data["shape"], data["data_type"], chunks, shards, names,
        zstd or bool(_CHECKS & set(names)), tuple(data.get("dimension_names") or ()),
    )  # fmt: skip


def array_v2(data: dict[str, Any]) -> StoredArray:
    """Of version 2. Raises as `array_v3` does."""
    if not isinstance(data["dtype"], str):
        raise NoPicture("a record type is no picture")
    parts = [
        *(data.get("filters") or []),
        *([data["compressor"]] if data.get("compressor") else []),
    ]
    names = [str(part["id"]) for part in parts]
    zstd = any(p["id"] == "zstd" and p.get("checksum") for p in parts)
    return _checked(
        data["shape"], data["dtype"], data["chunks"], None, names, zstd or bool(_CHECKS & set(names)), ()
    )  # fmt: skip


def _checked(
    shape: Any, dtype: str, chunks: Any, shards: Any, names: list[str], checked: bool, dims: Any
) -> StoredArray:
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise NoPicture(f"data type {dtype} is no picture") from error
    if kind.kind not in "buif":
        raise NoPicture(f"data type {dtype} is no picture")
    shape, chunks = tuple(map(int, shape)), tuple(map(int, chunks))
    if len(shape) != len(chunks) or min(chunks, default=1) < 1:
        raise NoPicture(f"shape {shape} and chunks {chunks} do not fit")
    codec = " + ".join(names) or "none"
    return StoredArray(shape, kind.name, chunks, shards and tuple(shards), codec, checked, dims)
