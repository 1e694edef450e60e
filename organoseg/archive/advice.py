"""Where the layout of a store makes sampling slow: the price measured on this very store, and how to mend it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.archive.catalogue import Catalogue
from organoseg.archive.chunk_reader import ChunkReader
from organoseg.archive.manifest import ArrayRef
from organoseg.archive.records import ImageRecord
from organoseg.archive.tasks import Place, Task
from organoseg.core import Image

#: Side (px) of the crops that are timed, how many, and the factor that is worth a word.
CROP, CROPS, WORTH = 512, 6, 2.0


@dataclass(frozen=True, slots=True)
class Advice:
    """One layout of one store: ``now`` and ``then`` in crops of 512 px per second (one process, single crops)."""

    url: str
    images: int
    layout: str
    decoded: float
    now: float
    then: float

    @property
    def command(self) -> str:
        """What rewrites the store with small chunks."""
        return f"organoseg archive create {self.url} --out {Path(self.url).stem or 'new'}-512.zarr"

    def __str__(self) -> str:
        return (
            f"{self.url}: {self.images} images with {self.layout}. A crop of {CROP} px decodes {self.decoded:.1f} MB; "
            f"measured here: {self.now:.1f} crops/s, with chunks of {CROP} px {self.then:.1f} crops/s "
            f"({self.then / self.now:.1f} times as many).\n  To mend it: {self.command}"
        )


def advise(catalogue: Catalogue) -> list[Advice]:
    """Time single crops on each layout of planes larger than a crop, then the same plane in our layout.

    Only what is at least `WORTH` times faster in ours is told. Unreadable planes are passed over.
    """
    kinds: dict[tuple[Any, ...], list[ImageRecord]] = {}
    for image in catalogue.images:
        tile = image.chunks[image.axes.index("y")], image.chunks[image.axes.index("x")]
        if max(image.size) > CROP and _chunk_pixels(image) > 1.5 * CROP * CROP:
            kinds.setdefault((image.store, tile, image.codec), []).append(image)
    found = []
    for (_, tile, codec), images in kinds.items():
        image = max(images, key=lambda i: i.size[0] * i.size[1])
        url = catalogue.store_of(image).url
        now = _rate(
            ArrayRef(image.id, url, image.path, image.axes, image.shape, image.chunks, image.chunks)
        )
        then = now and _ours(catalogue, image)
        if now and then and then / now >= WORTH:
            layout = f"chunks of {tile[0]} x {tile[1]} px ({codec})"
            found.append(Advice(url, len(images), layout, _decoded(image), now, then))
    return found


def _chunk_pixels(image: ImageRecord) -> int:
    return int(np.prod(np.minimum(image.chunks, image.shape), dtype=np.int64))


def _decoded(image: ImageRecord) -> float:
    """MB that a crop decodes on the average."""
    chunks = 1.0
    for axis in "yx":
        tile, whole = image.chunks[image.axes.index(axis)], image.along(axis)
        chunks *= min(1 + (CROP - 1) / tile, -(-whole // tile))
    return chunks * _chunk_pixels(image) * np.dtype(image.dtype).itemsize / 1e6


def _rate(array: ArrayRef) -> float | None:
    """Crops per second, each read by itself as a naive loader does; None when one cannot be read."""
    high, wide = array.size
    rng = np.random.default_rng(0)
    reader = ChunkReader()
    places = [
        Place(0, 0, (0,), int(rng.integers(0, max(high - CROP, 0) + 1)),
              int(rng.integers(0, max(wide - CROP, 0) + 1)), min(CROP, high), min(CROP, wide))
        for _ in range(CROPS + 1)
    ]  # fmt: skip
    # The first reading opens the store and warms the disk's cache.
    reader.read(Task(array, (places[0],), "any"))
    start = time.perf_counter()
    for place in places[1:]:
        if reader.read(Task(array, (place,), "any")).pixels[0] is None:
            return None
    return CROPS / max(time.perf_counter() - start, 1e-9)


def _ours(catalogue: Catalogue, image: ImageRecord) -> float | None:
    from organoseg.archive.picture import picture_of
    from organoseg.archive.write_image import write_image
    from organoseg.core import DataError

    try:
        plane: NDArray[Any] = catalogue.read_plane(image, 0, 0, 0)
        picture = picture_of(Image(plane))
    except DataError:
        return None
    with tempfile.TemporaryDirectory(prefix="organoseg-") as folder:
        write_image(Path(folder), "plane", picture)
        inner = (min(CROP, plane.shape[0]), min(CROP, plane.shape[1]))
        return _rate(ArrayRef(0, folder, "plane/0", "yx", plane.shape, inner, inner))
