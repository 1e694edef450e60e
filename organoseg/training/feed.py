"""Batches as a function of (seed, step): nothing to save, nothing to lose when a run is killed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from organoseg.core import Instances, normalised
from organoseg.dataset import LabelledDataset, LabelledImage
from organoseg.distill.copy_paste import Donor, paste
from organoseg.distill.pool import Pictures, Pool
from organoseg.distill.pseudo_labels import PseudoLabelFilter
from organoseg.distill.views import WEAK, Geometry, Photometry, Pixels, change_light, take_crop
from organoseg.models.protocol import Target

#: Streams of random numbers that must not be correlated.
LABELLED, UNLABELLED = 1, 2
#: Source of a region where nobody looked, as it travels through the crops with the organoids.
_UNKNOWN = "nobody looked"


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """pixels float32 (B, 1, S, S) and a target each."""

    pixels: torch.Tensor
    targets: list[Target]


@dataclass(frozen=True, eq=False)
class UnlabelledBatch:
    """Two views of the same crops, float32 (B, 1, S, S); the geometry is shared.

    ``targets`` are there where the images were labelled before.
    """

    weak: torch.Tensor
    strong: torch.Tensor
    targets: list[Target] | None = None


def _order(seed: int, stream: int, epoch: int, n: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, stream, epoch, 7)).permutation(n)


def _stack(crops: Sequence[NDArray[np.float32]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(crops)[:, None])


class _Cache:
    """The last images read, as normalised float32, up to a number of bytes."""

    def __init__(
        self, read: Callable[[int], NDArray[np.float32]], most_bytes: int = 1 << 30
    ) -> None:
        self._read, self._most, self._bytes = read, most_bytes, 0
        self._kept: OrderedDict[int, NDArray[np.float32]] = OrderedDict()

    def __call__(self, index: int) -> NDArray[np.float32]:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        pixels = self._read(index)
        self._kept[index] = pixels
        self._bytes += pixels.nbytes
        while self._bytes > self._most and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return pixels


def _outlined(item: LabelledImage) -> Instances:
    """The organoids of an image, and after them the regions where nobody looked."""
    if item.ignored is None:
        return item.instances
    regions = item.ignored.replace(sources=(_UNKNOWN,) * len(item.ignored))
    return item.instances.union(regions)


def _target(seen: Instances) -> Target:
    """Target made by a person; regions where nobody looked are ignored."""
    target = Target.labelled(seen)
    unknown = np.array([source == _UNKNOWN for source in seen.sources], bool)
    return replace(target, ignored=unknown) if unknown.any() else target


class LabelledFeed:
    """Weakly augmented crops of labelled images; every image once an epoch."""

    def __init__(
        self,
        dataset: LabelledDataset,
        batch: int,
        seed: int,
        geometry: Geometry,
        photometry: Photometry = WEAK,
    ) -> None:
        self.items = list(dataset)
        self.batch, self.seed, self.geometry, self.photometry = batch, seed, geometry, photometry
        self._pixels = [normalised(item.image.plane(), item.name) for item in self.items]
        self._outlined = [_outlined(item) for item in self.items]

    def __call__(self, step: int) -> LabelledBatch:
        crops, targets = [], []
        for k in range(step * self.batch, (step + 1) * self.batch):
            epoch, place = divmod(k, len(self.items))
            index = int(_order(self.seed, LABELLED, epoch, len(self.items))[place])
            rng = np.random.default_rng((self.seed, LABELLED, k))
            crop, seen = take_crop(rng, self._pixels[index], self._outlined[index], self.geometry)
            crops.append(change_light(rng, crop, self.photometry))
            targets.append(_target(seen))
        return LabelledBatch(_stack(crops), targets)


class UnlabelledFeed:
    """Weak and strong views of crops of ``size`` pictures, numbered from 0."""

    def __init__(
        self,
        source: Pictures,
        size: int,
        batch: int,
        seed: int,
        geometry: Geometry,
        strong: Photometry,
        weak: Photometry = WEAK,
    ) -> None:
        self.batch, self.seed = batch, seed
        self.geometry, self.weak, self.strong = geometry, weak, strong
        self._pixels = _Cache(lambda index: source.read(index).pixels)
        self._size = size

    def _place(self, k: int) -> int:
        """Which image the k-th crop of the run is taken from; every image once an epoch."""
        epoch, place = divmod(k, self._size)
        return int(_order(self.seed, UNLABELLED, epoch, self._size)[place])

    def _views(self, rng: np.random.Generator, crop: Pixels) -> tuple[Pixels, Pixels]:
        weak = change_light(rng, crop, self.weak)
        return weak, change_light(rng, weak, self.strong)

    def close(self) -> None:
        """Nothing is read ahead here."""

    def __call__(self, step: int) -> UnlabelledBatch:
        """The batch of a step."""
        views = []
        for k in range(step * self.batch, (step + 1) * self.batch):
            rng = np.random.default_rng((self.seed, UNLABELLED, k))
            crop, _ = take_crop(rng, self._pixels(self._place(k)), None, self.geometry)
            views.append(self._views(rng, crop))
        return UnlabelledBatch(_stack([w for w, _ in views]), _stack([s for _, s in views]))


class PooledFeed(UnlabelledFeed):
    """Crops of images that were labelled before, with what the teacher saw there."""

    def __init__(
        self,
        source: Pictures,
        pool: Pool,
        chosen: PseudoLabelFilter,
        batch: int,
        seed: int,
        geometry: Geometry,
        strong: Photometry,
        donors: tuple[Donor, ...] = (),
        paste_chance: float = 0.0,
    ) -> None:
        super().__init__(source, len(pool), batch, seed, geometry, strong)
        self._donors, self._paste_chance = donors, paste_chance if donors else 0.0
        self._pool, self._filter = pool, chosen
        # The teacher's least certain words are dropped once, not at every crop.
        self._seen = [i.select(i.scores >= chosen.floor) for i in pool.instances]

    def __call__(self, step: int) -> UnlabelledBatch:
        views, targets = [], []
        for k in range(step * self.batch, (step + 1) * self.batch):
            rng = np.random.default_rng((self.seed, UNLABELLED, k))
            place = self._place(k)
            pixels = self._pixels(self._pool.indices[place])
            crop, seen = take_crop(rng, pixels, self._seen[place], self.geometry)
            if self._paste_chance and rng.random() < self._paste_chance:
                crop, seen = paste(rng, crop, seen, self._donors)
            views.append(self._views(rng, crop))
            targets.append(self._filter(seen))
        weak, strong = _stack([w for w, _ in views]), _stack([s for _, s in views])
        return UnlabelledBatch(weak, strong, targets)


T = TypeVar("T")


class Prefetch(Generic[T]):
    """Makes the next batches while the network works, and measures how long it had to be waited for."""

    def __init__(self, make: Callable[[int], T], depth: int = 2) -> None:
        self._make, self._depth = make, depth
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="organoseg-feed")
        self._coming: dict[int, Future[T]] = {}
        self.waited = 0.0

    def __call__(self, step: int) -> T:
        start = perf_counter()
        future = self._coming.pop(step, None) or self._pool.submit(self._make, step)
        for ahead in range(step + 1, step + 1 + self._depth):
            if ahead not in self._coming:
                self._coming[ahead] = self._pool.submit(self._make, ahead)
        result = future.result()
        self.waited += perf_counter() - start
        return result

    def close(self) -> None:
        """Drop what was made ahead, and wait for what is being made: its source may be closed next."""
        self._pool.shutdown(wait=True, cancel_futures=True)
