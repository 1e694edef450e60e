"""Crops out of chunks: every chunk that a task needs is read and decoded once, and never invented.

zarr gives zeros for a chunk that is not there, and plain NaN for one that holds NaN. Here both are losses, as are
damaged ones: the crops that touch them come back as None, beside the names of the lost chunks.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from organoseg.archive.array_layout import ABSENT, ArrayLayout, UnknownLayout, parse_layout
from organoseg.archive.byte_store import ByteStore, LocalBytes, RemoteBytes, is_remote, local_path
from organoseg.archive.manifest import ArrayRef, Lost
from organoseg.archive.projection import project
from organoseg.archive.remote_cache import CachedBytes, CacheSettings
from organoseg.archive.tasks import Pixels, Place, Reply, Task
from organoseg.archive.zarr_chunks import ZarrChunks
from organoseg.core import MissingPartError, UsageError

Accelerator = Literal["zarr", "zarrs"]
_Chunk = tuple[int, ...]
# Layouts and shard indices kept at hand: an archive may have a million of them.
_LAYOUTS, _INDICES = 1024, 4096


class Unreadable(Exception):
    """(name of the chunk, reason)."""


def check_accelerator(name: str) -> None:
    """UsageError for an unknown one, MissingPartError for one that is not installed."""
    if name not in get_args(Accelerator):
        raise UsageError(
            f"No accelerator is called {name!r}", remedy=f"Give one of {get_args(Accelerator)}."
        )
    if name == "zarrs":
        from importlib.util import find_spec

        if find_spec("zarrs") is None:
            raise MissingPartError(
                "The accelerator zarrs is not installed",
                remedy="Install it with: pip install organoseg[fast]; or choose zarr.",
            )


class ChunkReader:
    """Reads tasks; opened lazily, one a process, safe for several threads."""

    def __init__(self, accelerator: Accelerator = "zarr", cache: CacheSettings | None = None):
        check_accelerator(accelerator)
        self._accelerator, self._cache = accelerator, cache
        self._stores: dict[str, ByteStore] = {}
        self._layouts: OrderedDict[tuple[str, str], ArrayLayout | ZarrChunks] = OrderedDict()
        self._indices: OrderedDict[tuple[str, str, str], NDArray[np.uint64]] = OrderedDict()
        self._slicers: OrderedDict[tuple[str, str], ZarrChunks] = OrderedDict()

    def read(self, task: Task) -> Reply:
        """All windows of a task. RunError when a remote store does not answer."""
        chunks: dict[_Chunk, Pixels] = {}
        lost: dict[str, str] = {}
        pixels = [self._window(task, place, chunks, lost) for place in task.places]
        array = task.array
        found = [
            Lost(array.url, array.path, name, reason)
            for name, reason in lost.items()
            if name not in task.avoid
        ]
        return Reply(pixels, found)

    def _window(
        self, task: Task, place: Place, chunks: dict[_Chunk, Pixels], lost: dict[str, str]
    ) -> Pixels | None:
        try:
            layout = self._layout(task.array)
        except Unreadable as error:
            lost.setdefault(str(error.args[0]), str(error.args[1]))
            return None
        planes = []
        for z in place.zs:
            plane = self._plane(task, layout, place, z, chunks, lost)
            if plane is None:
                return None
            planes.append(plane)
        return project(planes, task.z)

    def _plane(
        self,
        task: Task,
        layout: ArrayLayout | ZarrChunks,
        place: Place,
        z: int,
        chunks: dict[_Chunk, Pixels],
        lost: dict[str, str],
    ) -> Pixels | None:
        array, inner = task.array, layout.inner
        at = {"t": place.t, "c": place.c, "z": z}
        high, wide = array.along(inner, "y"), array.along(inner, "x")
        out = np.empty((place.height, place.width), layout.dtype.newbyteorder("="))
        whole = True
        for i in range(place.y // high, (place.y + place.height - 1) // high + 1):
            for j in range(place.x // wide, (place.x + place.width - 1) // wide + 1):
                spots = {**at, "y": i * high, "x": j * wide}
                chunk = tuple(spots.get(a, 0) // n for a, n in zip(array.axes, inner, strict=True))
                try:
                    if chunk not in chunks:
                        chunks[chunk] = self._chunk(task, layout, chunk)
                except Unreadable as error:
                    # The others are looked at as well, so that one reading names all that is lost.
                    lost.setdefault(str(error.args[0]), str(error.args[1]))
                    whole = False
                    continue
                tile = _tile(chunks[chunk], array.axes, at, inner)
                y, x = i * high, j * wide
                top, left = max(y, place.y), max(x, place.x)
                bottom = min(y + high, place.y + place.height)
                right = min(x + wide, place.x + place.width)
                out[top - place.y : bottom - place.y, left - place.x : right - place.x] = tile[
                    top - y : bottom - y, left - x : right - x
                ]
        return out if whole else None

    def _chunk(self, task: Task, layout: ArrayLayout | ZarrChunks, chunk: _Chunk) -> Pixels:
        """A decoded chunk of full shape; Unreadable when there is none to trust."""
        name = chunk_name(layout, chunk)
        if name in task.avoid or name.partition(" ")[0] in task.avoid:
            raise Unreadable(name, "in quarantine")
        try:
            pixels = (
                layout.read(chunk)
                if isinstance(layout, ZarrChunks)
                else self._decoded(task.array, layout, chunk)
            )
        except (ValueError, OSError) as error:
            raise Unreadable(name, str(error) or type(error).__name__) from error
        if pixels.dtype.kind == "f" and not np.isfinite(_inside(pixels, layout, chunk)).all():
            raise Unreadable(name, "NaN or infinite pixels")
        return pixels

    def _decoded(self, array: ArrayRef, layout: ArrayLayout, chunk: _Chunk) -> Pixels:
        store = self._store(array)
        key, number = layout.place(chunk)
        path = f"{array.path}/{key}" if array.path else key
        faster = self._accelerator == "zarrs"
        if layout.shard is None:
            # zarrs reads the file itself, but takes one that is not there for zeros.
            data = store.get_range(path, 0, 1) if faster else store.get(path)
        else:
            index = self._index(store, array, path, layout)
            offset, length = int(index[number, 0]), int(index[number, 1])
            if offset == ABSENT and length == ABSENT:
                raise ValueError("missing from its shard")
            if length > _most_bytes(layout) or offset >> 62:
                raise ValueError("the shard's index is damaged")
            data = store.get_range(path, offset, length)
            if data is not None and len(data) != length:
                raise ValueError("the shard is cut short")
        if data is None:
            raise ValueError("missing")
        if faster:
            return self._slicer(array).read(chunk)
        return layout.decode(data)

    def _index(
        self, store: ByteStore, array: ArrayRef, path: str, layout: ArrayLayout
    ) -> NDArray[np.uint64]:
        key = (array.url, array.path, path)
        index = self._indices.get(key)
        if index is None:
            shard = layout.shard
            assert shard is not None  # noqa: S101 (for mypy; the caller has looked)
            data = store.get_range(path, -shard.size if shard.at_end else 0, shard.size)
            if data is None:
                raise ValueError("missing")
            index = shard.parse(data)
            _keep(self._indices, key, index, _INDICES)
        return index

    def _layout(self, array: ArrayRef) -> ArrayLayout | ZarrChunks:
        key = (array.url, array.path)
        layout = self._layouts.get(key)
        if layout is None:
            layout = self._open(array)
            _keep(self._layouts, key, layout, _LAYOUTS)
        return layout

    def _open(self, array: ArrayRef) -> ArrayLayout | ZarrChunks:
        store = self._store(array)
        for version, name in ((3, "zarr.json"), (2, ".zarray")):
            key = f"{array.path}/{name}" if array.path else name
            try:
                data = store.get(key)
                if data is None:
                    continue
                layout = parse_layout(data, version)
            except UnknownLayout:
                return ZarrChunks(array)
            except (ValueError, KeyError, TypeError, OSError) as error:
                raise Unreadable(name, f"metadata: {error}") from error
            if layout.shape != array.shape:
                raise Unreadable(name, f"shape {layout.shape}, the catalogue says {array.shape}")
            return layout
        raise Unreadable("zarr.json", "missing")

    def _slicer(self, array: ArrayRef) -> ZarrChunks:
        key = (array.url, array.path)
        slicer = self._slicers.get(key)
        if slicer is None:
            slicer = ZarrChunks(array, pipeline="zarrs.ZarrsCodecPipeline")
            _keep(self._slicers, key, slicer, _LAYOUTS)
        return slicer

    def _store(self, array: ArrayRef) -> ByteStore:
        store = self._stores.get(array.url)
        if store is None:
            store = self._stores[array.url] = self._connect(array)
        return store

    def _connect(self, array: ArrayRef) -> ByteStore:
        if not is_remote(array.url):
            return LocalBytes(Path(local_path(array.url)))
        if self._accelerator == "zarrs":
            raise UsageError(
                "The accelerator zarrs reads stores on this machine only",
                where=array.url,
                remedy="Choose the accelerator zarr.",
            )
        remote = RemoteBytes(array.url)
        return remote if self._cache is None else CachedBytes(remote, array, self._cache)


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    kept[key] = value
    # Two threads may both find it too full: then one entry more goes, which costs a reading.
    while len(kept) > most:
        try:
            kept.popitem(last=False)
        except KeyError:
            break


def _most_bytes(layout: ArrayLayout) -> int:
    """No codec makes a chunk much longer than its pixels; a damaged index may claim it."""
    return 2 * math.prod(layout.inner) * layout.dtype.itemsize + (1 << 16)


def chunk_name(layout: ArrayLayout | ZarrChunks, chunk: Sequence[int]) -> str:
    """The key of a chunk, and for one in a shard its coordinates too: ``c/0/0/0 [0, 3, 1]``."""
    key, _ = layout.place(chunk)
    return f"{key} [{', '.join(map(str, chunk))}]" if layout.shard is not None else key


def _tile(chunk: Pixels, axes: str, at: dict[str, int], inner: tuple[int, ...]) -> Pixels:
    """The plane of a chunk at a place, (height, width)."""
    index = tuple(
        slice(None) if axis in "yx" else at.get(axis, 0) % size
        for axis, size in zip(axes, inner, strict=True)
    )
    tile = chunk[index]
    return tile if axes.index("y") < axes.index("x") else tile.T


def _inside(pixels: Pixels, layout: ArrayLayout | ZarrChunks, chunk: _Chunk) -> Pixels:
    """A chunk without what lies beyond the array."""
    return pixels[
        tuple(
            slice(0, max(whole - at * size, 0))
            for at, size, whole in zip(chunk, layout.inner, layout.shape, strict=True)
        )
    ]
