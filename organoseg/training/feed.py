"""Batches as a function of (seed, step): nothing to save, nothing to lose when a run is killed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from organoseg.core import Instances, normalised
from organoseg.dataset import LabelledDataset, LabelledImage
from organoseg.distill.copy_paste import PASTED, Donor, paste
from organoseg.distill.pool import Pictures, Pool
from organoseg.distill.pseudo_labels import PseudoLabelFilter
from organoseg.distill.views import WEAK, Geometry, Light, Pixels, change_light, take_crop
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

    def arrays(self) -> LabelledBatch:
        """The same with arrays, for the way between processes."""
        return replace(self, pixels=_array(self.pixels))

    def tensors(self) -> LabelledBatch:
        """What `arrays` was before."""
        return replace(self, pixels=_tensor(self.pixels))

    def pinned(self) -> LabelledBatch:
        """The same in memory that a GPU copies from by itself."""
        return replace(self, pixels=self.pixels.pin_memory())


@dataclass(frozen=True, eq=False)
class UnlabelledBatch:
    """Two views of the same crops, float32 (B, 1, S, S); the geometry is shared.

    ``targets`` are there where the images were labelled before; ``second`` as well where two students are taught
    differently: those of the other one.
    """

    weak: torch.Tensor
    strong: torch.Tensor
    targets: list[Target] | None = None
    second: list[Target] | None = None

    def arrays(self) -> UnlabelledBatch:
        """The same with arrays, for the way between processes."""
        return replace(self, weak=_array(self.weak), strong=_array(self.strong))

    def tensors(self) -> UnlabelledBatch:
        """What `arrays` was before."""
        return replace(self, weak=_tensor(self.weak), strong=_tensor(self.strong))

    def pinned(self) -> UnlabelledBatch:
        """The same in memory that a GPU copies from by itself."""
        return replace(self, weak=self.weak.pin_memory(), strong=self.strong.pin_memory())


@dataclass(frozen=True)
class Share:
    """The part of every batch that one of several processes takes: the ``rank``-th of ``of``."""

    rank: int = 0
    of: int = 1

    def of_step(self, step: int, batch: int) -> range:
        """Numbers of this part's crops, of a step whose whole batch has ``batch``."""
        first = step * batch
        return range(
            first + batch * self.rank // self.of, first + batch * (self.rank + 1) // self.of
        )


WHOLE = Share()


def _array(tensor: torch.Tensor) -> Any:
    return tensor.numpy()


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(array)


def _order(seed: int, stream: int, epoch: int, n: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, stream, epoch, 7)).permutation(n)


def _stack(crops: Sequence[NDArray[np.float32]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(crops)[:, None])


class _Cache:
    """The last images read, as normalised float32, up to a number of bytes.

    Sent to a process, it arrives empty and keeps an eighth: there are many of them.
    """

    def __init__(
        self, read: Callable[[int], NDArray[np.float32]], most_bytes: int = 1 << 30
    ) -> None:
        self._read, self._most, self._bytes = read, most_bytes, 0
        self._kept: OrderedDict[int, NDArray[np.float32]] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Cache, (self._read, self._most // 8)

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


@dataclass(frozen=True)
class _Reading:
    """The pixels of a picture; unlike a function within a function it can be sent to another process."""

    source: Pictures

    def __call__(self, index: int) -> NDArray[np.float32]:
        return self.source.read(index).pixels


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
        photometry: Light = WEAK,
        share: Share = WHOLE,
    ) -> None:
        self.share = share
        self.items = list(dataset)
        self.batch, self.seed, self.geometry, self.photometry = batch, seed, geometry, photometry
        self._pixels = [normalised(item.image.plane(), item.name) for item in self.items]
        self._outlined = [_outlined(item) for item in self.items]

    def __call__(self, step: int) -> LabelledBatch:
        crops, targets = [], []
        for k in self.share.of_step(step, self.batch):
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
        strong: Light,
        weak: Light = WEAK,
        share: Share = WHOLE,
    ) -> None:
        self.batch, self.seed, self.share = batch, seed, share
        self.geometry, self.weak, self.strong = geometry, weak, strong
        self._pixels = _Cache(_Reading(source))
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
        for k in self.share.of_step(step, self.batch):
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
        strong: Light,
        donors: tuple[Donor, ...] = (),
        paste_chance: float = 0.0,
        weak: Light = WEAK,
        share: Share = WHOLE,
    ) -> None:
        super().__init__(source, len(pool), batch, seed, geometry, strong, weak, share)
        self._donors, self._paste_chance = donors, paste_chance if donors else 0.0
        self._pool, self._filter = pool, chosen
        # The teacher's least certain words are dropped once, not at every crop.
        self._seen = [i.select(i.scores >= chosen.floor) for i in pool.instances]

    def __call__(self, step: int) -> UnlabelledBatch:
        views, targets = [], []
        for k in self.share.of_step(step, self.batch):
            two, seen = self._seen_at(k)
            views.append(two)
            targets.append(self._filter(seen))
        weak, strong = _stack([w for w, _ in views]), _stack([s for _, s in views])
        return UnlabelledBatch(weak, strong, targets)

    def _seen_at(self, k: int) -> tuple[tuple[Pixels, Pixels], Instances]:
        """The views of the k-th crop, and what the pool says of it."""
        rng = np.random.default_rng((self.seed, UNLABELLED, k))
        place = self._place(k)
        pixels = self._pixels(self._pool.indices[place])
        crop, seen = take_crop(rng, pixels, self._seen[place], self.geometry)
        if self._paste_chance and rng.random() < self._paste_chance:
            crop, seen = paste(rng, crop, seen, self._donors)
        return self._views(rng, crop), seen


class TwoFoldFeed(PooledFeed):
    """Crops of images of which a pool says two things: one for each of two students.

    The ids of a picture's instances tell who is taught: odd ones the first student, even ones the second. What is
    pasted is taught to both.
    """

    def __call__(self, step: int) -> UnlabelledBatch:
        views, first, second = [], [], []
        for k in self.share.of_step(step, self.batch):
            two, seen = self._seen_at(k)
            views.append(two)
            pasted = np.array([source == PASTED for source in seen.sources], bool)
            odd = seen.ids % 2 == 1
            first.append(self._filter(seen.select(odd | pasted)))
            second.append(self._filter(seen.select(~odd | pasted)))
        weak, strong = _stack([w for w, _ in views]), _stack([s for _, s in views])
        return UnlabelledBatch(weak, strong, first, second)
