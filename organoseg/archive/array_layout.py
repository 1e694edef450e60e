"""How an array lies in its files: which key holds a chunk, and how its bytes become pixels.

zarr-python opens an array in about a millisecond and slices through an event loop; a sampler that opens thousands of
small arrays and wants single chunks reads the few fields it needs itself. What is not known here (another codec, a
transposed chunk, a filter) is not guessed: `parse_layout` says so, and zarr reads that array.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
#: Encoded bytes and the number of bytes that must come out; ValueError when others do.
Decoder = Callable[[bytes, int], bytes]

#: An entry of a shard's index that says "this chunk was never written".
ABSENT = (1 << 64) - 1
_CHECKSUM = 4


class UnknownLayout(Exception):
    """This array is stored in a way that only zarr itself reads."""


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Where in a shard its index lies, and whether a CRC-32C ends it."""

    at_end: bool
    checksummed: bool
    entries: int

    @property
    def size(self) -> int:
        """Length of the index in bytes."""
        return 16 * self.entries + (_CHECKSUM if self.checksummed else 0)

    def parse(self, data: bytes) -> NDArray[np.uint64]:
        """(entries, 2) offsets and lengths in bytes; ValueError when the index is damaged."""
        if len(data) != self.size:
            raise ValueError(f"the shard's index has {len(data)} of {self.size} bytes")
        if self.checksummed:
            data = _without_checksum(data, self.size - _CHECKSUM)
        return np.frombuffer(data, "<u8").reshape(self.entries, 2)


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """An array's grid of files and the chunks within them.

    ``stored``: shape of what one file holds (a shard or a chunk); ``inner``: shape of what is decoded at once.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: tuple[int, ...]
    inner: tuple[int, ...]
    prefix: str
    separator: str
    decoders: tuple[Decoder, ...]
    shard: ShardIndex | None

    @property
    def per_shard(self) -> tuple[int, ...]:
        """Inner chunks of a file along each axis."""
        return tuple(s // i for s, i in zip(self.stored, self.inner, strict=True))

    def place(self, chunk: Sequence[int]) -> tuple[str, int]:
        """The key of the file that holds an inner chunk, and the chunk's number within it."""
        per = self.per_shard
        file = [c // p for c, p in zip(chunk, per, strict=True)]
        number = 0
        for c, p in zip(chunk, per, strict=True):
            number = number * p + c % p
        name = self.separator.join(map(str, file))
        return f"{self.prefix}{name}", number

    def decode(self, data: bytes) -> Pixels:
        """The pixels of an inner chunk, of its full shape; ValueError when it is damaged."""
        size = math.prod(self.inner) * self.dtype.itemsize
        decoded = data
        for decoder in self.decoders:
            decoded = decoder(decoded, size)
        if len(decoded) != size:
            raise ValueError(f"{len(decoded)} bytes instead of {size}")
        return np.frombuffer(decoded, self.dtype).reshape(self.inner)


def parse_layout(metadata: bytes, version: int) -> ArrayLayout:
    """From ``zarr.json`` (version 3) or ``.zarray`` (version 2).

    UnknownLayout when zarr must read it; ValueError (KeyError, TypeError) when it is no such file.
    """
    fields = json.loads(metadata)
    return _parse_v3(fields) if version == 3 else _parse_v2(fields)


def _parse_v3(fields: Mapping[str, Any]) -> ArrayLayout:
    if fields.get("storage_transformers") or fields["chunk_grid"]["name"] != "regular":
        raise UnknownLayout
    stored = _sizes(fields["chunk_grid"]["configuration"]["chunk_shape"])
    codecs = fields["codecs"]
    shard, inner = None, stored
    if codecs[0]["name"] == "sharding_indexed":
        if len(codecs) != 1:
            raise UnknownLayout
        shard, inner, codecs = _shard(codecs[0]["configuration"], stored)
    if codecs[0]["name"] != "bytes":
        raise UnknownLayout
    order = (codecs[0].get("configuration") or {}).get("endian", "little")
    encoding = fields["chunk_key_encoding"]
    separator = (encoding.get("configuration") or {}).get("separator")
    default = encoding["name"] == "default"
    separator = separator or ("/" if default else ".")
    return ArrayLayout(
        shape=_sizes(fields["shape"]),
        dtype=_dtype(fields["data_type"]).newbyteorder("<" if order == "little" else ">"),
        stored=stored,
        inner=inner,
        prefix=f"c{separator}" if default else "",
        separator=separator,
        decoders=tuple(_decoder_v3(codec) for codec in reversed(codecs[1:])),
        shard=shard,
    )


def _shard(
    fields: Mapping[str, Any], stored: tuple[int, ...]
) -> tuple[ShardIndex, tuple[int, ...], list[Any]]:
    inner = _sizes(fields["chunk_shape"])
    names = [codec["name"] for codec in fields["index_codecs"]]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        raise UnknownLayout
    if any(s % i for s, i in zip(stored, inner, strict=True)):
        raise ValueError("a shard that its chunks do not fill")
    entries = math.prod(s // i for s, i in zip(stored, inner, strict=True))
    at_end = fields.get("index_location", "end") == "end"
    return ShardIndex(at_end, len(names) == 2, entries), inner, list(fields["codecs"])


def _parse_v2(fields: Mapping[str, Any]) -> ArrayLayout:
    if fields.get("filters") or fields.get("order", "C") != "C":
        raise UnknownLayout
    stored = _sizes(fields["chunks"])
    compressor = fields.get("compressor")
    return ArrayLayout(
        shape=_sizes(fields["shape"]),
        dtype=_dtype(fields["dtype"]),
        stored=stored,
        inner=stored,
        prefix="",
        separator=fields.get("dimension_separator", "."),
        decoders=() if compressor is None else (_decoder(str(compressor["id"])),),
        shard=None,
    )


def _sizes(values: Sequence[Any]) -> tuple[int, ...]:
    sizes = tuple(int(value) for value in values)
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes {sizes}")
    return sizes


def _dtype(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str):
        raise UnknownLayout
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise UnknownLayout from error
    if dtype.kind not in "buif":
        raise UnknownLayout
    return dtype


def _decoder_v3(codec: Mapping[str, Any]) -> Decoder:
    return _decoder(str(codec["name"]))


def _decoder(name: str) -> Decoder:
    decoders: dict[str, Decoder] = {
        "zstd": _unzstd,
        "blosc": _unblosc,
        "gzip": _inflate,
        "zlib": _inflate,
        "crc32c": _checked,
    }
    if name not in decoders:
        raise UnknownLayout
    return decoders[name]


@lru_cache(maxsize=1)
def _zstd() -> Any:
    from numcodecs.zstd import Zstd  # type: ignore[import-untyped]

    return Zstd()


def _unzstd(data: bytes, size: int) -> bytes:
    # The buffer has the size that must come out: a bomb finds no room. numcodecs frees the GIL.
    out = bytearray(size)
    try:
        _zstd().decode(data, out)
    except RuntimeError as error:
        raise ValueError(f"zstd: {error}") from error
    return out  # type: ignore[return-value]


def _unblosc(data: bytes, size: int) -> bytes:
    from numcodecs import blosc  # type: ignore[import-untyped]

    out = bytearray(size)
    # The header names the size; what disagrees would be written past the end, or leave zeros.
    if len(data) < 16 or int.from_bytes(data[4:8], "little") != size:
        raise ValueError("blosc: the header is damaged")
    if int.from_bytes(data[12:16], "little") != len(data):
        raise ValueError("blosc: the chunk is cut short")
    try:
        blosc.decompress(data, out)
    except RuntimeError as error:
        raise ValueError(f"blosc: {error}") from error
    return out  # type: ignore[return-value]


def _inflate(data: bytes, size: int) -> bytes:
    stream = zlib.decompressobj(wbits=47)
    try:
        found = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"zlib: {error}") from error
    # The checksum stands behind the data: a stream that has not ended was not checked.
    if len(found) == size and not stream.eof:
        raise ValueError("zlib: the chunk is cut short")
    return found


def _checked(data: bytes, size: int) -> bytes:
    return _without_checksum(data, len(data) - _CHECKSUM)


def _without_checksum(data: bytes, size: int) -> bytes:
    import google_crc32c

    if size < 0 or len(data) != size + _CHECKSUM:
        raise ValueError("cut short")
    found = google_crc32c.value(data[:size])
    if found != int.from_bytes(data[size:], "little"):
        raise ValueError("the checksum does not fit")
    return data[:size]
