"""An archive as training wants it: pictures to be labelled once, and a stream of crops for all else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from organoseg.archive.catalogue import Catalogue
from organoseg.archive.manifest import Manifest, PlaneKey
from organoseg.archive.manifest_of import manifest_of
from organoseg.archive.remote_cache import CacheSettings
from organoseg.archive.sampler import Sample, Sampler
from organoseg.core import DataError, Image, UsageError
from organoseg.distill.pool import Picture
from organoseg.distill.views import WEAK, Geometry, Light, change_light, take_crop
from organoseg.training.feed import UNLABELLED, WHOLE, Share, UnlabelledBatch
from organoseg.training.recipe import Data, Sampling
from organoseg.training.unlabelled import named, no_such_name

Pixels = NDArray[np.float32]
#: A plane up to this side (px) is a picture; of a larger one a window of `WINDOW` px is.
WHOLE_PLANE, WINDOW = 1024, 768
#: Numbers of the stream between the first pictures of two parts: more than any part has.
PART = 1 << 40
#: So many pictures in vain for each that is wanted, and the archive has no others.
PATIENCE = 20
#: Threads that make views of the pictures of a batch, one for every four cores.
MOST_VIEWERS = 4


class ArchiveImages:
    """An `organoseg.training.unlabelled.Unlabelled` on the archive's sampler."""

    def __init__(
        self,
        manifest: Manifest,
        seed: int,
        geometry: Geometry,
        exclude: Collection[PlaneKey] = (),
        sampling: Sampling | None = None,
    ) -> None:
        chosen = sampling or Sampling()
        self._given = manifest, seed, geometry, exclude, chosen
        self._matches: Callable[[Collection[Image]], Collection[PlaneKey]] | None = None
        settings: dict[str, Any] = {
            "seed": seed,
            "exclude": exclude,
            "exclude_groups": chosen.exclude_groups,
            "z": chosen.z,
            "alpha": chosen.alpha,
            "accelerator": chosen.accelerator,
            "cache": chosen.cache and CacheSettings(chosen.cache, round(chosen.cache_gb * 1e9)),
        }
        side = window_side(geometry)
        self.crops = Sampler(manifest, crop=side, **settings)
        self._pictures = Sampler(
            manifest, crop=WINDOW, whole=WHOLE_PLANE, crops_per_read=1, **settings
        )
        self._seed, self._workers = seed, chosen.workers
        self._names = {a.image: a.name for a in manifest.arrays}
        self.identity = _identity(manifest, exclude)

    @classmethod
    def open(
        cls, data: Data, seed: int, geometry: Geometry, measured: Collection[Image]
    ) -> ArchiveImages:
        """The archive of a recipe; planes with the pixels of a measured image, and their twins, are never drawn.

        Errors as in `organoseg.training.unlabelled.open_unlabelled`.
        """
        path, sampling = data.unlabelled, data.sampling
        if path is None:
            raise TypeError("data.unlabelled is needed")
        catalogue = Catalogue.open(path)
        manifest = manifest_of(catalogue)
        groups = {array.group for array in manifest.arrays}
        unknown = sorted(set(sampling.exclude_groups) - groups)
        if unknown:
            raise UsageError(
                f"the archive has no group {', '.join(map(repr, unknown))}",
                where=path,
                remedy="organoseg archive info lists the groups; mend data.sampling.exclude_groups.",
            )
        if data.prefer:
            manifest = manifest.only(lambda array: named(array.name, data.prefer))
            if not manifest.arrays:
                raise no_such_name(path, data.prefer)
        found = cls(manifest, seed, geometry, catalogue.matches(measured), sampling)
        # What it holds is asked for before the run begins; the catalogue's file is left alone afterwards.
        found._matches = catalogue.matches
        return found

    def holds(self, image: Image) -> bool:
        """Whether an image's pixels are in the archive."""
        return self._matches is not None and bool(self._matches([image]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Processes that make batches open the archive for themselves."""
        return ArchiveImages, self._given

    def __len__(self) -> int:
        return len(self._pictures.draws.views.plane)

    @property
    def lost(self) -> int:
        """Chunks in quarantine, and those met since that are missing or damaged."""
        return len(self.crops.quarantined | self._pictures.quarantined)

    def read(self, index: int) -> Picture:
        """A plane of up to `WHOLE_PLANE` px, or a window of a larger one; DataError when all around it is lost."""
        sample = self._pictures[index]
        return Picture(self._name(sample), normalised_pixels(sample))

    def _name(self, sample: Sample) -> str:
        array, planes = self._names[sample.image], (sample.t, sample.c, sample.z)
        place = f"[t={planes[0]},c={planes[1]},z={planes[2]}]" if any(planes) else ""
        corner = f"[y={sample.y},x={sample.x}]" if sample.y or sample.x else ""
        return f"{array}{place}{corner}"

    def draw(self, size: int, part: int) -> tuple[int, ...]:
        """Numbers of ``size`` pictures that do not show the same, drawn as the sampler weighs them.

        Nothing is read for it. Fewer where so many are not found in `PATIENCE` times as many draws.
        """
        blocks = self._pictures.blocks
        first = part * (PART // blocks.size)
        seen: dict[tuple[int, int, int], int] = {}
        for number in range(first, first + -(-PATIENCE * size // blocks.size)):
            block = blocks.block(number)
            for place in range(blocks.size):
                window = block.windows[int(block.order[place])]
                shows = (window.view, window.y // WINDOW, window.x // WINDOW)
                seen.setdefault(shows, number * blocks.size + place)
                if len(seen) == size:
                    return tuple(sorted(seen.values()))
        return tuple(sorted(seen.values()))

    def feed(
        self,
        batch: int,
        geometry: Geometry,
        strong: Light,
        weak: Light = WEAK,
        share: Share = WHOLE,
    ) -> ArchiveFeed:
        """Crops of the sampler's stream."""
        return ArchiveFeed(
            self.crops, batch, self._seed, geometry, strong, weak, self._workers, share
        )


class ArchiveFeed:
    """Weak and strong views of crops of the archive.

    The sampler's crop should be `window_side` of the geometry: the weak view zooms and turns within it. Steps are
    expected one after another; a step out of turn (after a resume) begins the stream anew at its place.
    """

    in_order = True

    def __init__(
        self,
        sampler: Sampler,
        batch: int,
        seed: int,
        geometry: Geometry,
        strong: Light,
        weak: Light = WEAK,
        workers: int = 0,
        share: Share = WHOLE,
    ) -> None:
        self.share = share
        self.sampler, self.batch, self.seed = sampler, batch, seed
        self.geometry, self.weak, self.strong, self.workers = geometry, weak, strong, workers
        self._stream: Iterator[Sample] | None = None
        self._next = -1
        # Pictures come one after another, and their views are made side by side: numpy lets threads run in parallel.
        viewers = min(max((os.cpu_count() or 1) // 4, 1), MOST_VIEWERS)
        self._viewing = ThreadPoolExecutor(viewers, thread_name_prefix="organoseg-views")

    def __call__(self, step: int) -> UnlabelledBatch:
        """The batch of a step: the same whatever was asked for before."""
        if self._stream is None or step != self._next:
            self._end_stream()
            self._stream = self.sampler.iterate(step * self.batch, self.workers)
        self._next = step + 1
        mine = self.share.of_step(step, self.batch)
        coming = []
        for k in range(step * self.batch, (step + 1) * self.batch):
            sample = next(self._stream)
            if k in mine:
                coming.append(self._viewing.submit(self._views, k, sample))
        views = [made.result() for made in coming]
        return UnlabelledBatch(_stack([w for w, _ in views]), _stack([s for _, s in views]))

    def _views(self, k: int, sample: Sample) -> tuple[Pixels, Pixels]:
        rng = np.random.default_rng((self.seed, UNLABELLED, k))
        crop, _ = take_crop(rng, normalised_pixels(sample), None, self.geometry)
        weak = change_light(rng, crop, self.weak)
        return weak, change_light(rng, weak, self.strong)

    def close(self) -> None:
        """End the reading ahead."""
        self._end_stream()
        self._viewing.shutdown(wait=True, cancel_futures=True)

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()  # type: ignore[attr-defined]
            self._stream = None


def window_side(geometry: Geometry) -> int:
    """Side (px) of the largest window that the geometry zooms into a crop."""
    return int(np.ceil(geometry.crop / geometry.scale[0]))


def normalised_pixels(sample: Sample) -> Pixels:
    """A sample as the networks want it, float32 (H, W), by its whole plane's percentiles; DataError on NaN."""
    pixels = sample.intensity.normalise(sample.pixels)
    if not np.isfinite(pixels).all():
        raise DataError("a sample of the archive is not finite", where=sample.group)
    return pixels


def _identity(manifest: Manifest, exclude: Collection[PlaneKey]) -> str:
    """Of all that the stream of samples follows from; where the archive lies, and what is lost, is not part of it."""
    digest = hashlib.sha256(repr(sorted(exclude)).encode())
    for array in manifest.arrays:
        facts = (array.image, array.path, array.axes, array.shape, array.chunks, array.group)
        digest.update(repr((facts, array.name)).encode())
    for table in (manifest.planes, manifest.cells):
        for name in table.__slots__:
            column = np.ascontiguousarray(getattr(table, name))
            digest.update(f"{name} {column.dtype}".encode() + column.tobytes())
    return digest.hexdigest()


def _stack(crops: list[Pixels]) -> torch.Tensor:
    return torch.from_numpy(np.stack(crops)[:, None])
