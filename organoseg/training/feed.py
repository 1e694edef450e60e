"""Batches as a function of (seed, step): nothing to save, nothing to lose when a run is killed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from organoseg.core import Image, normalised
from organoseg.dataset import LabelledDataset
from organoseg.distill.views import WEAK, Geometry, Photometry, change_light, take_crop
from organoseg.models.protocol import Target

#: Streams of random numbers that must not be correlated.
LABELLED, UNLABELLED = 1, 2


class ImageSource(Protocol):
    """Unlabelled images, by index."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Image: ...


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """pixels float32 (B, 1, S, S) and a target each."""

    pixels: torch.Tensor
    targets: list[Target]


@dataclass(frozen=True, eq=False)
class UnlabelledBatch:
    """Two views of the same crops, float32 (B, 1, S, S); the geometry is shared."""

    weak: torch.Tensor
    strong: torch.Tensor


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

    def __call__(self, step: int) -> LabelledBatch:
        crops, targets = [], []
        for k in range(step * self.batch, (step + 1) * self.batch):
            epoch, place = divmod(k, len(self.items))
            index = int(_order(self.seed, LABELLED, epoch, len(self.items))[place])
            rng = np.random.default_rng((self.seed, LABELLED, k))
            crop, seen = take_crop(
                rng, self._pixels[index], self.items[index].instances, self.geometry
            )
            crops.append(change_light(rng, crop, self.photometry))
            targets.append(Target.labelled(seen))
        return LabelledBatch(_stack(crops), targets)


class UnlabelledFeed:
    """Weak and strong views of crops of the archive."""

    def __init__(
        self,
        source: ImageSource,
        batch: int,
        seed: int,
        geometry: Geometry,
        strong: Photometry,
        weak: Photometry = WEAK,
    ) -> None:
        self.source, self.batch, self.seed = source, batch, seed
        self.geometry, self.weak, self.strong = geometry, weak, strong
        self._pixels = _Cache(self._read)

    def _read(self, index: int) -> NDArray[np.float32]:
        image = self.source.read(index)
        return normalised(image.plane(), image.name)

    def __call__(self, step: int) -> UnlabelledBatch:
        weak, strong = [], []
        n = len(self.source)
        for k in range(step * self.batch, (step + 1) * self.batch):
            epoch, place = divmod(k, n)
            index = int(_order(self.seed, UNLABELLED, epoch, n)[place])
            rng = np.random.default_rng((self.seed, UNLABELLED, k))
            crop, _ = take_crop(rng, self._pixels(index), None, self.geometry)
            view = change_light(rng, crop, self.weak)
            weak.append(view)
            strong.append(change_light(rng, view, self.strong))
        return UnlabelledBatch(_stack(weak), _stack(strong))


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
        """Drop what was made ahead."""
        self._pool.shutdown(wait=False, cancel_futures=True)
