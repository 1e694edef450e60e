"""Planes of any level of an image; what is lost is an error, never zeros."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from organoseg.archive.chunk_reader import ChunkReader
from organoseg.archive.manifest import ArrayRef
from organoseg.archive.records import ImageRecord
from organoseg.archive.tasks import Place, Task
from organoseg.core import DataError


@lru_cache(maxsize=1)
def _reader() -> ChunkReader:
    # One a process: it keeps stores, layouts and shard indices at hand, and opens them at first use.
    return ChunkReader()


@dataclass(frozen=True, slots=True)
class Level:
    """One level of an image."""

    array: ArrayRef

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self.array.size

    def read(
        self, t: int, c: int, z: int, region: tuple[int, int, int, int] | None = None
    ) -> NDArray[Any]:
        """Pixels (H, W) as stored; ``region``: (y, x, height, width) in px of this level.

        DataError naming array and chunk when a chunk is missing, damaged or holds NaN; RunError when a remote store
        does not answer. A chunk that a foreign writer left out because it held one grey counts as missing.
        """
        y, x, high, wide = region or (0, 0, *self.size)
        reply = _reader().read(Task(self.array, (Place(t, c, (z,), y, x, high, wide),), "any"))
        pixels = reply.pixels[0]
        if pixels is None:
            lost = reply.lost[0]
            raise DataError(
                f"Chunk {lost.chunk} cannot be read: {lost.reason}",
                where=f"{lost.url}/{lost.path}",
                remedy="See what else is lost with: organoseg archive check",
            )
        return pixels


def open_level(record: ImageRecord, level: int, url: str) -> Level:
    """A level of an image in the store at ``url``; nothing is read yet."""
    path, shape = record.levels[level]
    return Level(ArrayRef(record.id, url, path, record.axes, shape, record.chunks, record.chunks))
