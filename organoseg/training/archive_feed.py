"""The archive's sampler as training wants it: normalised crops, and images for the pool of pseudo-labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from organoseg.archive.manifest import Manifest
from organoseg.archive.sampler import Sample, Sampler, SampleSource
from organoseg.core import DataError, Image, Intensity
from organoseg.distill.views import WEAK, Geometry, Photometry, change_light, take_crop
from organoseg.training.feed import UNLABELLED, UnlabelledBatch

if TYPE_CHECKING:
    from organoseg.archive.catalogue import Catalogue

Pixels = NDArray[np.float32]
#: A plane up to this side (px) is labelled whole; of a larger one a window is.
WHOLE = 1024


@dataclass(frozen=True, eq=False)
class PoolImage:
    """An image of the pool: as stored, with the intensity of the whole plane that it is part of."""

    image: Image
    intensity: Intensity

    def normalised(self) -> Pixels:
        """float32 (H, W), by the whole plane's percentiles."""
        return self.intensity.normalise(self.image.plane())


class PoolSource:
    """Images for `organoseg.distill.pool`; an `ImageSource` with the intensity of each.

    The k-th is always the same, and read from the archive each time; only its place is remembered by the pool.
    """

    def __init__(self, sampler: SampleSource, size: int) -> None:
        self._sampler, self._size = sampler, size

    def __len__(self) -> int:
        return self._size

    def sample(self, index: int) -> PoolImage:
        """The image at an index, with its intensity."""
        if not 0 <= index < self._size:
            raise IndexError(index)
        sample = self._sampler[index]
        return PoolImage(_image(sample), sample.intensity)

    def read(self, index: int) -> Image:
        """The image at an index, as stored."""
        return self.sample(index).image

    def normalised(self, index: int) -> Pixels:
        """The image at an index as the networks want it: by its whole plane's percentiles, not the window's."""
        return self.sample(index).normalised()


def pool_source(catalogue: Catalogue | Manifest, n: int, side: int, **settings: Any) -> PoolSource:
    """``n`` images of an archive: whole planes up to `WHOLE` px, windows of at most ``side`` px of larger ones.

    ``settings`` are those of `Sampler` (seed, exclude, z, cache, ...).
    """
    sampler = Sampler(
        catalogue, crop=side, whole=WHOLE, **{"crops_per_read": 1, "memory": 1 << 30, **settings}
    )
    return PoolSource(sampler, n)


def sample_images(
    catalogue: Catalogue | Manifest, n: int, side: int, **settings: Any
) -> Iterator[PoolImage]:
    """The images of `pool_source`, in order."""
    source = pool_source(catalogue, n, side, **settings)
    return (source.sample(index) for index in range(n))


class ArchiveFeed:
    """Weak and strong views of crops of the archive: what `UnlabelledFeed` is for images in memory.

    The sampler's crop should be `window_side` of the geometry: the weak view zooms and turns within it. Steps are
    expected one after another; a step out of turn (after a resume) begins the stream anew at its place.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch: int,
        seed: int,
        geometry: Geometry,
        strong: Photometry,
        weak: Photometry = WEAK,
        workers: int = 0,
    ) -> None:
        self.sampler, self.batch, self.seed = sampler, batch, seed
        self.geometry, self.weak, self.strong, self.workers = geometry, weak, strong, workers
        self._stream: Iterator[Sample] | None = None
        self._next = -1

    def __call__(self, step: int) -> UnlabelledBatch:
        """The batch of a step: the same whatever was asked for before."""
        if self._stream is None or step != self._next:
            self.close()
            self._stream = self.sampler.iterate(step * self.batch, self.workers)
        self._next = step + 1
        weak, strong = [], []
        for k in range(step * self.batch, (step + 1) * self.batch):
            sample = next(self._stream)
            rng = np.random.default_rng((self.seed, UNLABELLED, k))
            pixels = normalised_pixels(sample)
            crop, _ = take_crop(rng, pixels, None, self.geometry)
            weak.append(change_light(rng, crop, self.weak))
            strong.append(change_light(rng, weak[-1], self.strong))
        return UnlabelledBatch(_stack(weak), _stack(strong))

    def close(self) -> None:
        """End the reading ahead."""
        if self._stream is not None:
            self._stream.close()  # type: ignore[attr-defined]
            self._stream = None


def window_side(geometry: Geometry) -> int:
    """Side (px) of the largest window that the geometry zooms into a crop."""
    return int(np.ceil(geometry.crop / geometry.scale[0]))


def normalised_pixels(sample: Sample) -> Pixels:
    """A sample as the networks want it, float32 (H, W); DataError should it hold NaN."""
    pixels = sample.intensity.normalise(sample.pixels)
    if not np.isfinite(pixels).all():
        raise DataError("a sample of the archive is not finite", where=sample.group)
    return pixels


def _image(sample: Sample) -> Image:
    name = f"{sample.image}/t{sample.t}c{sample.c}z{sample.z}/{sample.y},{sample.x}"
    return Image(sample.pixels, name=name, group=sample.group)


def _stack(crops: list[Pixels]) -> torch.Tensor:
    return torch.from_numpy(np.stack(crops)[:, None])
