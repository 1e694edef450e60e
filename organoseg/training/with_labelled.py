"""The paper's unlabelled set is the whole training set: labelled images are drawn as well, without their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from organoseg.core import Image, normalised
from organoseg.dataset import LabelledImage
from organoseg.distill.pool import Picture
from organoseg.distill.views import WEAK, Geometry, Light, change_light, take_crop
from organoseg.training.feed import WHOLE, Share, UnlabelledBatch
from organoseg.training.unlabelled import Feed, Unlabelled

#: Stream of random numbers that says which crops are of labelled images.
MIXED = 3


class WithLabelled:
    """An archive and, each with the same chance as one of its pictures, labelled images.

    The labelled ones have negative numbers, so that the archive's own keep theirs.
    """

    def __init__(self, archive: Unlabelled, items: Sequence[LabelledImage], seed: int) -> None:
        self.archive, self.items, self.seed = archive, tuple(items), seed
        names = "\n".join(item.image.identity for item in items)
        self.identity = hashlib.sha256(f"{archive.identity}\n{names}".encode()).hexdigest()

    @property
    def lost(self) -> int:
        """Chunks of the archive that cannot be read."""
        return self.archive.lost

    def __len__(self) -> int:
        return len(self.archive) + len(self.items)

    def read(self, index: int) -> Picture:
        """The picture of a number."""
        if index >= 0:
            return self.archive.read(index)
        item = self.items[-index - 1]
        return Picture(item.name, normalised(item.image.plane(), item.name))

    def holds(self, image: Image) -> bool:
        """Whether an image's pixels are among those that are drawn from."""
        return self.archive.holds(image) or any(
            i.image.identity == image.identity for i in self.items
        )

    def draw(self, size: int, part: int) -> tuple[int, ...]:
        """Numbers of ``size`` different pictures; labelled ones in proportion."""
        rng = np.random.default_rng((self.seed + part, 98))
        ours = min(round(size * len(self.items) / len(self)), len(self.items))
        some = (-1 - rng.permutation(len(self.items))[:ours]).tolist()
        return tuple(sorted(some)) + self.archive.draw(size - ours, part)

    def feed(
        self,
        batch: int,
        geometry: Geometry,
        strong: Light,
        weak: Light = WEAK,
        share: Share = WHOLE,
    ) -> MixedFeed:
        """The archive's crops, some of them exchanged for crops of labelled images."""
        inner = self.archive.feed(batch, geometry, strong, weak, share)
        return MixedFeed(inner, self, batch, geometry, strong, weak, share)


class MixedFeed:
    """Each crop is of a labelled image with the chance that a picture is one."""

    def __init__(
        self,
        inner: Feed,
        source: WithLabelled,
        batch: int,
        geometry: Geometry,
        strong: Light,
        weak: Light,
        share: Share,
    ) -> None:
        self.inner, self.batch, self.share, self.seed = inner, batch, share, source.seed
        self.geometry, self.strong, self.weak = geometry, strong, weak
        self.in_order = getattr(inner, "in_order", False)
        self._pixels = [source.read(-1 - i).pixels for i in range(len(source.items))]
        self._chance = len(source.items) / len(source)

    def __call__(self, step: int) -> UnlabelledBatch:
        """The batch of a step: the same whatever was asked for before."""
        found = self.inner(step)
        weak, strong = found.weak.numpy(), found.strong.numpy()
        for row, k in enumerate(self.share.of_step(step, self.batch)):
            rng = np.random.default_rng((self.seed, MIXED, k))
            if rng.random() < self._chance:
                pixels = self._pixels[int(rng.integers(len(self._pixels)))]
                crop, _ = take_crop(rng, pixels, None, self.geometry)
                weak[row, 0] = change_light(rng, crop, self.weak)
                strong[row, 0] = change_light(rng, weak[row, 0], self.strong)
        return found

    def close(self) -> None:
        """End what reads ahead."""
        self.inner.close()
