"""What a run learns from without labels: an archive with a catalogue, or a plain folder of images."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import numpy as np

from organoseg.archive import FolderArchive
from organoseg.archive.catalogue import FILE
from organoseg.core import DataError, Image, UsageError, normalised
from organoseg.distill.pool import Picture, Pictures
from organoseg.distill.views import WEAK, Geometry, Light
from organoseg.training.feed import WHOLE, Share, UnlabelledBatch, UnlabelledFeed
from organoseg.training.recipe import Data, Sampling


class Feed(Protocol):
    """Batches of crops by step."""

    def __call__(self, step: int) -> UnlabelledBatch:
        """The batch of a step: the same whatever was asked for before."""
        ...

    def close(self) -> None:
        """End what reads ahead."""
        ...


class Unlabelled(Pictures, Protocol):
    """Unlabelled images of a run. All that is drawn follows from the recipe's seed.

    ``identity``: SHA-256 (hex) of everything that decides what is drawn: another one is another run.
    """

    @property
    def identity(self) -> str: ...

    @property
    def lost(self) -> int:
        """Chunks that cannot be read: those in quarantine, and those met since."""
        ...

    def __len__(self) -> int:
        """How many pictures there are."""
        ...

    def holds(self, image: Image) -> bool:
        """Whether an image's pixels are among those that are drawn from."""
        ...

    def draw(self, size: int, part: int) -> tuple[int, ...]:
        """Numbers of ``size`` different pictures, or of all that are found; each ``part`` draws anew."""
        ...

    def feed(
        self,
        batch: int,
        geometry: Geometry,
        strong: Light,
        weak: Light = WEAK,
        share: Share = WHOLE,
    ) -> Feed:
        """Crops in weak and strong views, for a teacher that labels every batch; of each batch a share."""
        ...


class FolderImages:
    """A plain folder, for sets too small to convert: whole images, all drawn alike.

    Raises DataError when no image has one of ``words`` in its name.
    """

    lost = 0

    def __init__(self, folder: FolderArchive, seed: int, words: Collection[str] = ()) -> None:
        self._folder, self._seed = folder, seed
        self._indices = [i for i, e in enumerate(folder.entries) if named(e.name, words)]
        if not self._indices:
            raise no_such_name(folder.path, words)
        hashes = [folder.entries[i].pixel_hash for i in self._indices]
        self._hashes = frozenset(hashes)
        self.identity = hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, index: int) -> Picture:
        """The whole image at an index; DataError when its file has gone or changed."""
        image = self._folder.read(self._indices[index])
        return Picture(image.name, normalised(image.plane(), image.name))

    def holds(self, image: Image) -> bool:
        """Whether an image's pixels are among those that are drawn from."""
        return image.identity in self._hashes

    def draw(self, size: int, part: int) -> tuple[int, ...]:
        """Indices of ``size`` images at random, or of all."""
        order = np.random.default_rng((self._seed + part, 99)).permutation(len(self))
        return tuple(sorted(order[:size].tolist()))

    def feed(
        self,
        batch: int,
        geometry: Geometry,
        strong: Light,
        weak: Light = WEAK,
        share: Share = WHOLE,
    ) -> Feed:
        """Crops; every image once an epoch."""
        return UnlabelledFeed(self, len(self), batch, self._seed, geometry, strong, weak, share)


def named(name: str, words: Collection[str]) -> bool:
    """Whether a name holds one of some words, where there are words."""
    return not words or any(word in name for word in words)


def no_such_name(where: Path, words: Collection[str]) -> DataError:
    """The error of words that no name holds."""
    return DataError(
        f"no unlabelled image has {' or '.join(words)} in its name",
        where=where,
        remedy="Mend data.prefer.",
    )


def is_archive(path: Path) -> bool:
    """Whether a path is a catalogue or a zarr store, rather than a folder of images."""
    marks = (FILE, "zarr.json", ".zgroup", ".zarray")
    return path.is_file() or path.suffix == ".zarr" or any((path / m).exists() for m in marks)


def open_unlabelled(
    data: Data, seed: int, geometry: Geometry, measured: Collection[Image]
) -> Unlabelled | None:
    """What ``data.unlabelled`` names, without the images that the run is ``measured`` on.

    Raises
    ------
    DataError
        There is none, it has no catalogue, or nothing is left to draw from.
    UsageError
        The recipe gives ``data.sampling`` for a plain folder, or names a group that the archive lacks.
    """
    path = data.unlabelled
    if path is None:
        return None
    if is_archive(path):
        from organoseg.training.archive_images import ArchiveImages

        return ArchiveImages.open(data, seed, geometry, measured)
    if data.sampling != Sampling():
        raise UsageError(
            "data.sampling says how an archive is drawn from, and this is a plain folder",
            where=path,
            remedy="Make an archive with: organoseg archive create FOLDER --out ARCHIVE.zarr",
        )
    folder = FolderArchive.open(path).exclude({image.identity for image in measured})
    return FolderImages(folder, seed, data.prefer)
