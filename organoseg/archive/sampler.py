"""The stream of unlabelled crops that training sees: a function of the seed, at the speed of the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from organoseg.archive.blocks import Block, Blocks, Window
from organoseg.archive.chunk_reader import Accelerator, ChunkReader, check_accelerator
from organoseg.archive.draws import Draws, make_draws
from organoseg.archive.manifest import Lost, Manifest, PlaneKey
from organoseg.archive.projection import ZMode, check_mode, intensity_of
from organoseg.archive.read_ahead import ReadAhead
from organoseg.archive.remote_cache import CacheSettings
from organoseg.archive.tasks import Pixels, Place, Reply, Task
from organoseg.core import DataError, Intensity, UsageError

if TYPE_CHECKING:
    from organoseg.archive.catalogue import Catalogue

#: After so many lost windows in a row for one sample nothing is worth reading any more.
MOST_ATTEMPTS = 100
#: Blocks read ahead at most: more would only keep crops that nobody waits for.
MOST_AHEAD = 4


@dataclass(frozen=True, eq=False)
class Sample:
    """A crop. ``pixels`` (height, width) in the stored dtype: ``crop`` px a side, or the plane's own where less.

    ``z`` is that of the plane, or of the sharpest one of a projection; y, x (px): where the crop begins.
    """

    pixels: Pixels
    image: int
    t: int
    c: int
    z: int
    y: int
    x: int
    group: str
    intensity: Intensity


@dataclass(frozen=True, slots=True)
class _MakeReader:
    accelerator: Accelerator
    cache: CacheSettings | None

    def __call__(self) -> ChunkReader:
        return ChunkReader(self.accelerator, self.cache)


class Sampler:
    """Crops of an archive.

    The k-th sample depends on the archive, the settings of the stream (crop, seed, exclusions, z, crops_per_read,
    alpha) and k, and on nothing else: not on memory, accelerator, workers, or where the stream was begun.

    Parameters
    ----------
    archive
        An open `Catalogue`, or a `Manifest`.
    crop
        Side of a crop, px.
    exclude, exclude_groups
        Planes (image id, t, c, z) and groups that training must not see; planes with the same pixels go with them.
    z
        "best": the sharpest plane of each stack; "any": all planes; "max", "min": projections.
    crops_per_read
        How many crops are cut from chunks that were read once.
    memory
        Most bytes that crops read ahead may take.
    whole
        A plane of at most this side, px, is taken whole, even where it is larger than ``crop``.
    alpha
        0: every group is drawn alike; 1: by its size.

    Raises
    ------
    UsageError
        A setting is unknown or impossible, or ``memory`` does not hold one block.
    DataError
        Nothing is left to draw from.
    """

    def __init__(
        self,
        archive: Catalogue | Manifest,
        *,
        crop: int,
        seed: int,
        exclude: Collection[PlaneKey] = (),
        exclude_groups: Collection[str] = (),
        z: ZMode = "best",
        crops_per_read: int = 8,
        memory: int = 1 << 29,
        accelerator: Accelerator = "zarr",
        cache: CacheSettings | None = None,
        whole: int = 0,
        alpha: float = 0.5,
    ) -> None:
        if crop < 1 or crops_per_read < 1:
            raise UsageError(
                f"{crops_per_read} crops of {crop} px a read", remedy="Give positive numbers."
            )
        check_mode(z)
        check_accelerator(accelerator)
        self.manifest = _manifest(archive)
        self.z, self.crop, self.memory = z, crop, memory
        self.draws: Draws = make_draws(
            self.manifest, z=z, exclude=exclude, exclude_groups=exclude_groups, alpha=alpha
        )
        self.blocks = Blocks(self.draws, seed, crop, crops=crops_per_read, whole=whole)
        self._make_reader = _MakeReader(accelerator, cache)
        self._reader = self._make_reader()
        self._lost: set[Lost] = set()
        self._avoid: dict[tuple[str, str], frozenset[str]] = {}
        self._note(self.manifest.quarantine)
        self._plan: Block | None = None
        if memory < self._block_bytes:
            raise UsageError(
                f"{memory} bytes of memory do not hold one block of {self._block_bytes} bytes",
                remedy="Give more memory, smaller crops, or fewer crops per read.",
            )

    @property
    def _block_bytes(self) -> int:
        # Four bytes a pixel: whatever the archive's dtypes are.
        return self.blocks.size * max(self.crop, self.blocks.whole) ** 2 * 4

    @property
    def quarantined(self) -> frozenset[Lost]:
        """Chunks in quarantine at start, and those met since that are missing or damaged."""
        return frozenset(self._lost)

    def __getitem__(self, k: int) -> Sample:
        """The k-th sample of the stream. Errors as in `iterate`."""
        if k < 0:
            raise IndexError(k)
        number, place = divmod(k, self.blocks.size)
        block = self._plan
        if block is None or block.number != number:
            block = self._plan = self.blocks.block(number)
        window = block.windows[int(block.order[place])]
        reply = self._noted(self._reader.read(self._task([window])))
        return self._sample(k, window, reply.pixels[0])

    def iterate(self, start: int = 0, workers: int = 0) -> Iterator[Sample]:
        """Samples from the ``start``-th on, in order and without end, read ahead within ``memory``.

        ``workers``: processes that read; 0 for threads. Close the iterator to end them.
        DataError when window after window is lost; RunError when a remote store does not answer.
        """
        ahead = max(min(self.memory // self._block_bytes - 1, MOST_AHEAD), 0)
        number, skip = divmod(start, self.blocks.size)
        with ReadAhead(self._make_reader, workers) as reading:
            coming: deque[tuple[Block, list[Future[Reply]]]] = deque()
            while True:
                while len(coming) <= ahead:
                    coming.append(self._begin(number + len(coming), reading.submit))
                block, futures = coming.popleft()
                pixels = self._gather(futures)
                number += 1
                for place in range(skip, self.blocks.size):
                    at = int(block.order[place])
                    # Taken out of the list: the caller alone then decides how long a crop is kept.
                    crop, pixels[at] = pixels[at], None
                    k = block.number * self.blocks.size + place
                    yield self._sample(k, block.windows[at], crop)
                skip = 0

    def _begin(
        self, number: int, submit: Callable[[Task], Future[Reply]]
    ) -> tuple[Block, list[Future[Reply]]]:
        block, step = self.blocks.block(number), self.blocks.crops
        reads = (block.windows[i : i + step] for i in range(0, self.blocks.size, step))
        return block, [submit(self._task(windows)) for windows in reads]

    def _gather(self, futures: list[Future[Reply]]) -> list[Pixels | None]:
        pixels: list[Pixels | None] = []
        while futures:
            pixels += self._noted(ReadAhead.result(futures.pop(0))).pixels
        return pixels

    def _task(self, windows: Collection[Window]) -> Task:
        """A reading of windows of one view."""
        view = next(iter(windows)).view
        planes = self.manifest.planes
        rows = self.draws.views.stack(view)
        array = self.manifest.arrays[int(planes.array[rows[0]])]
        zs = tuple(int(z) for z in planes.z[rows])
        t, c = int(planes.t[rows[0]]), int(planes.c[rows[0]])
        places = tuple(Place(t, c, zs, w.y, w.x, w.height, w.width) for w in windows)
        avoid = self._avoid.get((array.url, array.path), frozenset())
        return Task(array, places, self.z, avoid)

    def _noted(self, reply: Reply) -> Reply:
        self._note(reply.lost)
        return reply

    def _note(self, lost: Collection[Lost]) -> None:
        for one in lost:
            self._lost.add(one)
            key = one.url, one.path
            self._avoid[key] = self._avoid.get(key, frozenset()) | {one.chunk}

    def _sample(self, k: int, window: Window, pixels: Pixels | None) -> Sample:
        attempt = 0
        while pixels is None:
            attempt += 1
            if attempt > MOST_ATTEMPTS:
                raise DataError(
                    f"{MOST_ATTEMPTS} places of the archive in a row cannot be read; "
                    f"{len(self._lost)} chunks are lost, such as {_shown(self._lost)}",
                    remedy="See what organoseg archive check says, and mend the archive.",
                )
            window = self.blocks.again(k, attempt)
            pixels = self._noted(self._reader.read(self._task([window]))).pixels[0]
        row = int(self.draws.views.plane[window.view])
        image, t, c, z = self.manifest.key(row)
        group = self.manifest.arrays[int(self.manifest.planes.array[row])].group
        intensity = intensity_of(self.manifest, self.draws.views.stack(window.view), self.z)
        return Sample(pixels, image, t, c, z, window.y, window.x, group, intensity)


def _manifest(archive: Catalogue | Manifest) -> Manifest:
    if isinstance(archive, Manifest):
        return archive
    from organoseg.archive.manifest_of import manifest_of

    return manifest_of(archive)


def _shown(lost: Collection[Lost]) -> str:
    first = min(lost, key=lambda one: (one.url, one.path, one.chunk), default=None)
    return "none" if first is None else f"{first.url}/{first.path}/{first.chunk}: {first.reason}"
