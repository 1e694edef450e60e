"""What a sampler asks of a reader of chunks, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from organoseg.archive.manifest import ArrayRef, Lost
from organoseg.archive.projection import ZMode

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A window (px) of one time and channel, seen through the focus planes ``zs``."""

    t: int
    c: int
    zs: tuple[int, ...]
    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Task:
    """Windows of one array; ``avoid``: names of chunks known to be lost."""

    array: ArrayRef
    places: tuple[Place, ...]
    z: ZMode = "best"
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Reply:
    """For each window its pixels (height, width) as stored, or None; and the chunks newly found lost."""

    pixels: list[Pixels | None]
    lost: list[Lost] = field(default_factory=list)
