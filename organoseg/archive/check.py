"""Look for damage in archives: what is missing, cut, flipped, or does not agree; and say what cannot be seen.

A chunk that is not there has two meanings. We write every chunk, and so do many others; some writers leave out chunks
of one grey. An array of ours, or one that holds a written chunk of zeros, has a loss. Of any other
the store does not tell: such chunks are ``absent``, counted apart, and kept from training all the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.archive.catalogue import Catalogue
from organoseg.archive.chunk_reader import ChunkReader
from organoseg.archive.damage import Finding, Kind, Report
from organoseg.archive.listing import Listing, list_store
from organoseg.archive.manifest import ArrayRef, Lost
from organoseg.archive.records import ImageRecord
from organoseg.archive.tasks import Place, Task
from organoseg.archive.walk import Found, walk
from organoseg.archive.write_image import levels
from organoseg.core import DataError, pixel_hash

Tick = Callable[[int], None]
#: Largest part of a foreign array (bytes) held in memory at once.
_STRIP_BYTES = 64 << 20
#: A foreign level may be made in many ways; its mean over 1/16 of a side may differ by this part of the range.
_GRID, _TOLERANCE = 16, 0.1


def check_store(
    url: str,
    catalogue: Catalogue | None = None,
    report: Report | None = None,
    tick: Tick | None = None,
) -> Report:
    """Read every chunk of every level of every image of a store once.

    ``catalogue``: one that knows the store; then images and metadata that are gone or changed are found as well.
    Raises DataError for what is no store or holds nothing, RunError when a URL does not answer.
    """
    report = report or Report()
    listing = list_store(url)
    found = walk(listing)
    report.stores.append(url)
    _metadata(report, listing, found, catalogue)
    if not found.images and not report.findings:
        raise DataError("No image in this store", where=url, remedy="Give a zarr store with images")
    for image in found.images:
        report.images += 1
        report.blind_to(image)
        _ImageCheck(report, listing, image, found, tick).run()
    return report


def _metadata(report: Report, listing: Listing, found: Found, catalogue: Catalogue | None) -> None:
    def add(path: str, reason: str) -> None:
        report.findings.append(Finding("metadata", listing.url, path, "", reason))

    for path, reason in found.problems:
        add(path, reason)
    told = {path for path, _ in found.problems}
    if found.kind == "organoseg":
        parts = (key.split("/") for key in listing.keys if key.startswith("images/"))
        folders = {"/".join(p[:2]) for p in parts if len(p) > 2}
        whole = {image.path.rpartition("/")[0]: image.path for image in found.images}
        for folder in sorted(folders - set(whole) - told):
            add(folder, "the metadata of this image are missing")
        for folder, path in sorted(whole.items()):
            if path not in found.hashes:
                add(folder, "the pixel hashes of this image are missing")
    if catalogue is None:
        return
    numbers = [store.id for store in catalogue.stores if store.url == listing.url]
    have = {image.path for image in found.images}
    for image in catalogue.images:
        if image.store in numbers and image.path not in have:
            add(image.path, "this image is in the catalogue and can no longer be found")
    for key, digest in catalogue.metadata_of(listing.url).items():
        data = listing.store.get(key) if key in listing.keys else None
        if data is None:
            add(key, "this file was there when the store was indexed")
        elif hashlib.sha256(data).hexdigest() != digest:
            add(
                key,
                "this file has changed since the store was indexed (if on purpose: index it anew)",
            )


@dataclass
class _ImageCheck:
    report: Report
    listing: Listing
    image: ImageRecord
    found: Found
    tick: Tick | None

    def run(self) -> None:
        """All levels of the image."""
        image, url = self.image, self.listing.url
        ours = self.found.kind == "organoseg"
        reader, hashes = ChunkReader(), self.found.hashes.get(image.path, {})
        arrays = [
            ArrayRef(image.id, url, path, image.axes, shape, image.chunks, image.chunks)
            for path, shape in image.levels
        ]
        self._shapes(arrays, ours)
        gone: dict[tuple[str, str], Lost] = {}
        full = False
        for block in _blocks(image):
            views = [_View(array, reader, block, whole=ours) for array in arrays]
            for view in views:
                view.read()
                gone.update({(lost.path, lost.chunk): lost for lost in view.lost})
                full |= view.fill_seen
            for number, place in enumerate(block):
                self._plane(place, [v.planes[number] for v in views], hashes, ours)
        for lost in gone.values():
            missing = lost.reason.startswith("missing")
            kind: Kind = "damaged" if not missing else "missing" if ours or full else "absent"
            self.report.findings.append(Finding(kind, url, lost.path, lost.chunk, lost.reason))

    def _shapes(self, arrays: Sequence[ArrayRef], ours: bool) -> None:
        for upper, lower in pairwise(arrays):
            lead = [upper.along(upper.shape, a) != lower.along(lower.shape, a) for a in "tc"]
            wrong = any(u < v for u, v in zip(upper.size, lower.size, strict=True)) or any(lead)
            half = (-(-upper.size[0] // 2), -(-upper.size[1] // 2))
            if wrong or (ours and lower.size != half):
                self._add(
                    "levels", lower.path, f"its size {lower.shape} does not follow {upper.shape}"
                )

    def _plane(
        self, place: tuple[int, int, int], seen: list[_Plane], hashes: dict[str, str], ours: bool
    ) -> None:
        self.report.planes += 1
        if self.tick:
            self.tick(self.report.planes)
        at = ",".join(map(str, place))
        top = seen[0]
        if hashes and top.digest is not None:
            self.report.hashed += 1
            if hashes.get(at) != top.digest:
                self._add(
                    "pixels",
                    self.image.path,
                    f"plane {at} is not what was stored: its pixel hash differs",
                    at,
                )
        expected = levels(top.pixels) if ours and top.pixels is not None else None
        for number, (upper, lower) in enumerate(pairwise(seen), 1):
            if expected is not None:
                if number == 1:
                    next(expected)
                made = next(expected, None)
                same = lower.pixels is None or (
                    made is not None and np.array_equal(made, lower.pixels)
                )
            else:
                same = _alike(upper.grid, lower.grid)
            if not same:
                path = self.image.levels[number][0]
                self._add("levels", path, f"plane {at} does not show what the level above shows")

    def _add(self, kind: Kind, path: str, reason: str, chunk: str = "") -> None:
        self.report.findings.append(Finding(kind, self.listing.url, path, chunk, reason))


@dataclass(frozen=True, slots=True)
class _Plane:
    """``digest``: pixel hash; ``grid``: means over a coarse grid; None where a chunk is lost."""

    pixels: NDArray[Any] | None
    digest: str | None
    grid: NDArray[np.float64] | None


class _View:
    """The planes of one block of chunks at one level, read in strips of whole chunks unless ``whole``."""

    def __init__(
        self,
        array: ArrayRef,
        reader: ChunkReader,
        block: list[tuple[int, int, int]],
        *,
        whole: bool,
    ) -> None:
        self.array, self.reader, self.block, self.whole = array, reader, block, whole
        self.planes: list[_Plane] = []
        self.lost: list[Lost] = []
        self.fill_seen = False

    def read(self) -> None:
        """Fill ``planes`` and ``lost``."""
        high, wide = self.array.size
        step = high
        if not self.whole:
            tile = self.array.tile[0]
            step = max(_STRIP_BYTES // max(wide * 2 * len(self.block), 1) // tile, 1) * tile
        # Planes of a z-stack may be fewer at a lower level.
        inside = [
            all(n < self.array.along(self.array.shape, a) for n, a in zip(p, "tcz", strict=True))
            for p in self.block
        ]
        places = [p for p, there in zip(self.block, inside, strict=True) if there]
        strips: list[list[NDArray[Any] | None]] = [[] for _ in places]
        sums: list[list[Any]] = [[] for _ in places]
        for y in range(0, high, step):
            rows = min(step, high - y)
            windows = tuple(Place(t, c, (z,), y, 0, rows, wide) for t, c, z in places)
            reply = self.reader.read(Task(self.array, windows, "any"))
            self.lost += reply.lost
            for number, pixels in enumerate(reply.pixels):
                strips[number].append(pixels if self.whole else None)
                sums[number].append(None if pixels is None else self._sums(pixels, y))
                if pixels is None and not self.whole and not self.fill_seen:
                    self.fill_seen = self._writes_zeros(windows[number])
        done = iter(zip(strips, sums, strict=True))
        self.planes = [
            self._made(*next(done)) if there else _Plane(None, None, None) for there in inside
        ]

    def _sums(self, pixels: NDArray[Any], y: int) -> Any:
        if self.whole:
            return ()
        self.fill_seen |= self._empty_chunk(pixels)
        return _coarse_rows(pixels, y, self.array.size[0])

    def _writes_zeros(self, strip: Place) -> bool:
        """Whether a chunk of zeros was written here, where others are lost."""
        high, wide = self.array.tile
        tiles = tuple(
            replace(strip, y=y, x=x, height=min(high, end - y), width=min(wide, strip.width - x))
            for end in (strip.y + strip.height,)
            for y in range(strip.y, end, high)
            for x in range(0, strip.width, wide)
        )
        pixels = self.reader.read(Task(self.array, tiles, "any")).pixels
        return any(tile is not None and not tile.any() for tile in pixels)

    def _empty_chunk(self, pixels: NDArray[Any]) -> bool:
        high, wide = self.array.tile
        return any(
            not pixels[y : y + high, x : x + wide].any()
            for y in range(0, pixels.shape[0], high)
            for x in range(0, pixels.shape[1], wide)
        )

    def _made(self, strips: list[NDArray[Any] | None], sums: list[Any]) -> _Plane:
        if any(part is None for part in sums):
            return _Plane(None, None, None)
        if self.whole:
            pixels = strips[0]
            assert pixels is not None  # noqa: S101 (for mypy)
            return _Plane(pixels, pixel_hash(pixels), None)
        total = sum(part[0] for part in sums)
        return _Plane(None, None, total / np.maximum(sum(part[1] for part in sums), 1))


def _coarse_rows(
    pixels: NDArray[Any], y: int, high: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums and counts of a strip over the coarse grid of its plane."""
    bands = (np.arange(y, y + pixels.shape[0]) * _GRID) // high
    edges = np.minimum(np.arange(_GRID) * pixels.shape[1] // _GRID, pixels.shape[1] - 1)
    sums, counts = np.zeros((_GRID, _GRID)), np.zeros((_GRID, 1))
    widths = np.maximum(np.diff(np.append(edges, pixels.shape[1])), 1)
    for band in np.unique(bands):
        rows = pixels[bands == band]
        across = np.add.reduceat(rows, edges, axis=1, dtype=np.float64) / widths
        sums[band], counts[band] = across.sum(axis=0), len(rows)
    return sums, counts


def _alike(upper: NDArray[np.float64] | None, lower: NDArray[np.float64] | None) -> bool:
    if upper is None or lower is None:
        return True
    span = max(float(np.ptp(upper)), 0.05 * float(np.abs(upper).max()), 1e-6)
    return bool(np.abs(upper - lower).mean() <= _TOLERANCE * span)


def _blocks(image: ImageRecord) -> Iterator[list[tuple[int, int, int]]]:
    """Planes that share chunks, so that each chunk is decoded once."""
    steps = [image.chunks[image.axes.index(a)] if a in image.axes else 1 for a in "tcz"]
    counts = [image.along(a) for a in "tcz"]
    for starts in product(*(range(0, n, s) for n, s in zip(counts, steps, strict=True))):
        ends = [min(b + s, n) for b, s, n in zip(starts, steps, counts, strict=True)]
        t, c, z = (range(b, e) for b, e in zip(starts, ends, strict=True))
        yield list(product(t, c, z))
