"""A frame: one picture of a run that is to be segmented, known before any pixel is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from organoseg.archive.file_planes import SourceFile
from organoseg.archive.store_planes import StoreImage


@dataclass(frozen=True)
class Frame:
    """One 2-D picture to be. Small, and travels to workers as a pickle.

    Attributes
    ----------
    key
        Names it within the run: a relative posix path, unique, with nothing in it that a file name must not have.
    source
        Where it lies, for people: the path of its (first) file, or store and array.
    place
        Files of one time and channel (several: their focus planes), an image of a store, or None where planning has
        already failed.
    scene, t, c, z
        Where within them. z is None for a projection (or the sharpest plane) of all there are.
    fields
        plate, well, site, group, time, channel, z, series: as far as they are known.
    failure
        Why it cannot be read, where that is known already.
    """

    key: str
    source: str
    place: tuple[SourceFile, ...] | StoreImage | None
    scene: int = 0
    t: int = 0
    c: int = 0
    z: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    failure: str | None = None
