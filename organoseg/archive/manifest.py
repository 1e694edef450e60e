"""What the sampler needs to know of an archive, in columns: made from the catalogue once, at start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]
#: (image id, t, c, z): names a plane in every room.
PlaneKey = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class ArrayRef:
    """An image's full-size array: where it is and how it is cut.

    ``url``: its store; ``path``: the array in it; ``axes``: letters, one a dimension; ``chunks``: what is decoded at
    once; ``stored``: what one file holds (the shard, or the chunk); ``signature``: changes when the store does.
    """

    image: int
    url: str
    path: str
    axes: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    stored: tuple[int, ...]
    group: str = ""
    name: str = ""
    signature: str = ""

    def along(self, values: Sequence[int], axis: str) -> int:
        """The value of one axis; 1 for an axis that the image lacks."""
        place = self.axes.find(axis)
        return int(values[place]) if place >= 0 else 1

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self.along(self.shape, "y"), self.along(self.shape, "x")

    @property
    def tile(self) -> tuple[int, int]:
        """(height, width) of a chunk in px."""
        return self.along(self.chunks, "y"), self.along(self.chunks, "x")


@dataclass(frozen=True, slots=True)
class Planes:
    """One row a plane, all columns of one length. ``array``: place in `Manifest.arrays`.

    ``twin``: the same number for planes with the same pixels, int64. ``low``, ``middle``, ``high``: its `Intensity`.
    """

    array: Column
    t: Column
    c: Column
    z: Column
    focus: Column
    low: Column
    middle: Column
    high: Column
    twin: Column


@dataclass(frozen=True, slots=True)
class Cells:
    """One row a cell, a square of a plane. ``plane``: its row in `Planes`; y, x, height, width in px."""

    plane: Column
    y: Column
    x: Column
    height: Column
    width: Column
    focus: Column
    foreground: Column

    def __len__(self) -> int:
        return len(self.plane)

    def rows(self, chosen: Column) -> Cells:
        """Some of the rows."""
        return Cells(*(getattr(self, name)[chosen] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Lost:
    """A chunk that can not be read: the store, the array in it, the chunk and why."""

    url: str
    path: str
    chunk: str
    reason: str = field(default="", compare=False)


@dataclass(frozen=True, eq=False)
class Manifest:
    """Arrays, planes and cells of an archive, and the chunks that `archive check` put into quarantine."""

    arrays: tuple[ArrayRef, ...]
    planes: Planes
    cells: Cells
    quarantine: frozenset[Lost] = frozenset()

    def only(self, wanted: Callable[[ArrayRef], bool]) -> Manifest:
        """The same archive with some of its arrays; twins among what is left stay twins."""
        arrays = np.array([wanted(array) for array in self.arrays], bool)
        rows = np.flatnonzero(arrays[self.planes.array])
        cells = self.cells.rows(np.isin(self.cells.plane, rows))
        planes = replace(
            Planes(*(getattr(self.planes, name)[rows] for name in self.planes.__slots__)),
            array=np.cumsum(arrays)[self.planes.array[rows]] - 1,
        )
        return replace(
            self,
            arrays=tuple(a for a, kept in zip(self.arrays, arrays, strict=True) if kept),
            planes=planes,
            cells=replace(cells, plane=np.searchsorted(rows, cells.plane)),
        )

    def key(self, plane: int) -> PlaneKey:
        """The plane of a row."""
        p = self.planes
        image = self.arrays[int(p.array[plane])].image
        return image, int(p.t[plane]), int(p.c[plane]), int(p.z[plane])
