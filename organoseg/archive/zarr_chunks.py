"""Single chunks through zarr itself: for codecs that only zarr knows, and for the accelerator `zarrs`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.archive.byte_store import is_remote, local_path
from organoseg.archive.manifest import ArrayRef

#: zarr and its codecs raise all of these for a chunk that cannot be decoded; there is no common class.
_ERRORS = (ValueError, RuntimeError, OSError, KeyError, TypeError, NotImplementedError)

#: zarr's settings are the process's: two threads that change them for a moment could leave one's behind.
_OPENING = threading.Lock()


class ZarrChunks:
    """An array opened by zarr, chunk by chunk. ``pipeline``: a codec pipeline of another package.

    ValueError on opening or reading what zarr cannot read.
    """

    def __init__(self, array: ArrayRef, pipeline: str | None = None) -> None:
        import zarr

        url = array.url if is_remote(array.url) else str(local_path(array.url))
        setting = {"codec_pipeline.path": pipeline, "threading.max_workers": 1}
        try:
            with _OPENING, zarr.config.set(setting) if pipeline else nullcontext():
                self._array: Any = zarr.open_array(url, path=array.path, mode="r")
        except _ERRORS as error:
            raise ValueError(f"zarr cannot open it: {error}") from error
        self._trusted = pipeline is not None
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.inner: tuple[int, ...] = tuple(self._array.chunks)
        self.shard: tuple[int, ...] | None = getattr(self._array, "shards", None)
        self.dtype: np.dtype[Any] = np.dtype(self._array.dtype)

    def place(self, chunk: Sequence[int]) -> tuple[str, int]:
        """The key of the file with a chunk; numbers within shards are not needed."""
        per = [s // i for s, i in zip(self.shard or self.inner, self.inner, strict=True)]
        file = tuple(c // p for c, p in zip(chunk, per, strict=True))
        return str(self._array.metadata.encode_chunk_key(file)), 0

    def read(self, chunk: Sequence[int]) -> NDArray[Any]:
        """A chunk of full shape (what lies beyond the array is undefined); ValueError when it is lost."""
        from zarr.core.sync import sync

        box = tuple(
            slice(c * n, min((c + 1) * n, whole))
            for c, n, whole in zip(chunk, self.inner, self.shape, strict=True)
        )
        try:
            if not self._trusted and not sync(
                (self._array.store_path / self.place(chunk)[0]).exists()
            ):
                raise ValueError("missing")
            part = np.asarray(self._array[box])
        except _ERRORS as error:
            raise ValueError(str(error) or type(error).__name__) from error
        if not self._trusted and self.shard is not None and not (part != part.flat[0]).any():
            # zarr fills what a shard lacks without a word.
            raise ValueError("one grey all over: taken for missing from its shard")
        if part.shape == self.inner:
            return part
        full = np.zeros(self.inner, part.dtype)
        full[tuple(slice(0, n) for n in part.shape)] = part
        return full
