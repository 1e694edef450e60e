"""A part of the archive labelled once, by a teacher that looks at every image from several sides.

What a frozen teacher says of an image does not change, so it need not be asked again for every crop. The time saved
pays for views: what several turned views agree on is right far more often than what one view scores highly
(docs/experiments.md has the figures), and precision is what distillation on organoids loses first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from organoseg.core import DataError, Instances
from organoseg.dataset import LabelledDataset
from organoseg.distill.labeller import Labeller
from organoseg.io import read_instances, write_instances
from organoseg.io.instances_json import ORGANOID
from organoseg.models.capped import told_once
from organoseg.models.protocol import Segmenter


@dataclass(frozen=True, eq=False)
class Picture:
    """An unlabelled image as the networks want it: ``pixels`` float32 (H, W), normalised."""

    name: str
    pixels: NDArray[np.float32]


class Pictures(Protocol):
    """Unlabelled images, by number: the same number is the same picture at any time."""

    def read(self, index: int) -> Picture:
        """The picture of a number."""
        ...


@dataclass(frozen=True, eq=False)
class Pool:
    """Pictures (by number and name) and what the teacher sees in each."""

    indices: tuple[int, ...]
    instances: tuple[Instances, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def density(self, sharpness: float) -> float:
        """Expected organoids per px, where a score s is a chance of s ** sharpness."""
        area = sum(i.shape[0] * i.shape[1] for i in self.instances)
        return float((self.scores**sharpness).sum()) / max(area, 1)

    def changed(self, change: Callable[[Instances], Instances]) -> Pool:
        """The same pictures with other instances."""
        return Pool(self.indices, tuple(map(change, self.instances)), self.names)

    def beside(self, other: Pool) -> Pool:
        """The pictures of both, one after the other; a picture may be there twice."""
        return Pool(
            self.indices + other.indices,
            self.instances + other.instances,
            self.names + other.names,
        )

    @property
    def scores(self) -> NDArray[np.float64]:
        """Scores of all instances, float64 (N,), 0 to 1."""
        none = [np.zeros(0)]
        return np.clip(np.concatenate(none + [i.scores for i in self.instances]), 0.0, 1.0)


def label_pool(
    labeller: Labeller,
    teacher: Segmenter,
    source: Pictures,
    indices: tuple[int, ...],
    device: torch.device,
    autocast: Callable[[], Any] = nullcontext,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pool:
    """Ask the teacher about whole images; what it sees is kept before any filter."""
    found, names = [], []
    for done, index in enumerate(indices):
        picture = source.read(index)
        pixels = torch.from_numpy(picture.pixels)[None, None].to(device)
        with autocast():
            found.append(told_once(teacher, partial(labeller.predict, teacher, pixels))[0])
        names.append(picture.name)
        progress(done + 1, len(indices))
    return Pool(indices, tuple(found), tuple(names))


def two_fold(first: Pool, second: Pool) -> Pool:
    """Two pools of the same pictures as one: the ids of the first's instances are odd, of the second's even.

    Raises
    ------
    DataError
        They are not of the same pictures.
    """
    if first.indices != second.indices:
        raise DataError("two pools of pseudo-labels show different images")
    found = []
    for one, two in zip(first.instances, second.instances, strict=True):
        odd = one.replace(ids=np.arange(len(one), dtype=np.int64) * 2 + 1)
        found.append(odd.union(two.replace(ids=np.arange(len(two), dtype=np.int64) * 2 + 2)))
    return Pool(first.indices, tuple(found), first.names)


def labelled_density(dataset: LabelledDataset) -> float:
    """Organoids per px that people drew."""
    area = sum(item.image.shape[0] * item.image.shape[1] for item in dataset)
    area -= sum(
        int(i.ignored.to_dense().any(axis=0).sum()) for i in dataset if i.ignored is not None
    )
    return sum(len(item.instances) for item in dataset) / max(area, 1)


def matching_sharpness(pool: Pool, density: float, low: float, high: float) -> float:
    """The sharpness at which the pool is expected to hold ``density`` organoids per px, within [low, high].

    A student that was taught chances scores lower than its teacher did, and its own labels need another reading.
    What does not change is how many organoids an archive holds (counting as in Wang et al. 2022, "Noisy Boundaries").
    """
    if pool.density(low) <= density:
        return low
    if pool.density(high) >= density:
        return high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if pool.density(middle) > density else (low, middle)
    return (low + high) / 2


def save_pool(pool: Pool, path: Path, names: Mapping[int, str] = ORGANOID) -> None:
    """Write the pool as one COCO file, so that it can be looked at and read back; a file name is number and name.

    ``names``: of the classes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    files = (f"{k:08d} {name}" for k, name in zip(pool.indices, pool.names, strict=True))
    write_instances(path, zip(files, pool.instances, strict=True), names)


def load_pool(path: Path) -> Pool:
    """Read a pool back.

    Raises
    ------
    DataError
        It is missing or damaged.
    """
    found = read_instances(path)
    parts = [name.partition(" ") for name in found]
    try:
        numbers = tuple(int(number) for number, _, _ in parts)
        return Pool(numbers, tuple(found.values()), tuple(name for _, _, name in parts))
    except ValueError as error:
        raise DataError(
            "not a file of pseudo-labels", where=path, remedy="Start the run anew."
        ) from error
