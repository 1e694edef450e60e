"""What can be measured of a labelled set, so that nobody has to count for its card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Instances
from organoseg.core.files import read_json
from organoseg.dataset.duplicates import find_duplicates, leakage
from organoseg.dataset.groups import group_key
from organoseg.dataset.labelled import LabelledDataset, LabelledImage
from organoseg.dataset.splits import Split

#: An organoid overlaps when others cover more than this share of it, as in `organoseg evaluate`.
OVERLAPPING = 0.1

Spread = tuple[float, float, float]


@dataclass(frozen=True)
class SideStatistics:
    """One side of a split, or a named subset: images, organoids, groups."""

    name: str
    images: int
    organoids: int
    groups: int


@dataclass(frozen=True)
class Leak:
    """What two sides share: groups, and pictures under two names."""

    sides: tuple[str, str]
    groups: tuple[str, ...]
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SetStatistics:
    """Measured facts of a labelled set.

    shapes, dtypes, suffixes, pixel_sizes: how many images have each; sizes are (height, width) in px, pixel sizes µm
    per px, None where a file does not say. per_image, diameter_px, diameter_um: 5th, 50th and 95th percentile, None
    where there is nothing to measure. overlapping, touching_border: shares of the organoids. duplicates: images with
    the same pixels. leaks: what two sides share that have no image in common (nested subsets have, on purpose).
    """

    images: int
    organoids: int
    empty_images: int
    by_class: Mapping[str, int]
    shapes: Mapping[tuple[int, int], int]
    dtypes: Mapping[str, int]
    suffixes: Mapping[str, int]
    pixel_sizes: Mapping[float | None, int]
    per_image: Spread | None
    most_in_one: int
    diameter_px: Spread | None
    diameter_um: Spread | None
    overlapping: float
    touching_border: float
    partly_known: int
    groups: Mapping[str, int]
    own_groups: bool
    duplicates: tuple[tuple[str, ...], ...]
    sides: tuple[SideStatistics, ...] = ()
    leaks: tuple[Leak, ...] = ()


def statistics_of(
    dataset: LabelledDataset, subsets: Mapping[str, Sequence[str]] | None = None
) -> SetStatistics:
    """Measure `dataset`, and its `subsets` (name to file names, see `read_subsets`).

    Raises
    ------
    DataError
        A subset names an image that the set lacks.
    """
    sides = _sides(dataset, subsets or {})
    organoids = [item.instances for item in dataset]
    counts = np.array([len(found) for found in organoids])
    groups = Counter(group_key(item.image) for item in dataset)
    sizes = [item.image.pixel_size for item in dataset]
    diameters = [_diameters(found) for found in organoids]
    in_um = [d * np.sqrt(s[0] * s[1]) for d, s in zip(diameters, sizes, strict=True) if s]
    overlaps = _joined([found.overlap_fraction() for found in organoids])
    return SetStatistics(
        images=len(dataset),
        organoids=int(counts.sum()),
        empty_images=int((counts == 0).sum()),
        by_class=_by_class(dataset),
        shapes=Counter(item.image.shape for item in dataset),
        dtypes=Counter(str(item.image.pixels.dtype) for item in dataset),
        suffixes=Counter(Path(name).suffix for name in dataset.names),
        pixel_sizes=Counter(round(float(np.sqrt(s[0] * s[1])), 4) if s else None for s in sizes),
        per_image=_spread(counts.astype(np.float64)),
        most_in_one=int(counts.max()),
        diameter_px=_spread(_joined(diameters)),
        diameter_um=_spread(_joined(in_um)),
        overlapping=_share(overlaps > OVERLAPPING),
        touching_border=_share(_joined([_at_border(found) for found in organoids])),
        partly_known=sum(item.ignored is not None for item in dataset),
        groups=groups,
        own_groups=any(item.image.group for item in dataset),
        duplicates=tuple(find_duplicates(item.image for item in dataset)),
        sides=tuple(_side(name, items) for name, items in sides.items()),
        leaks=tuple(_leaks(sides)),
    )


def read_subsets(path: Path) -> dict[str, list[str]]:
    """Sides of a split, or named subsets, from the JSON files that organoseg writes and recipes read.

    Raises
    ------
    DataError
        It is neither.
    """
    data = read_json(path)
    if isinstance(data, dict) and "sides" in data:
        split = Split.load(path)
        return {side: split.names(side) for side in dict.fromkeys(split.sides.values())}
    lists = {k: v for k, v in data.items() if isinstance(v, list)} if isinstance(data, dict) else {}
    if not lists or not all(isinstance(name, str) for names in lists.values() for name in names):
        raise DataError(
            "Neither a split nor named lists of images",
            where=path,
            remedy="Give the split.json or subsets.json of `organoseg review export`, or such a file of yours.",
        )
    return lists


def _sides(
    dataset: LabelledDataset, subsets: Mapping[str, Sequence[str]]
) -> dict[str, list[LabelledImage]]:
    known = {item.name: item for item in dataset}
    for name, names in subsets.items():
        missing = [n for n in names if n not in known]
        if missing:
            raise DataError(
                f"{len(missing)} images of {name!r} are not in the labelled set, for example {missing[0]}",
                remedy="Give the annotations that the split was made for.",
            )
    return {name: [known[n] for n in names] for name, names in subsets.items()}


def _side(name: str, items: Sequence[LabelledImage]) -> SideStatistics:
    groups = {group_key(item.image) for item in items}
    return SideStatistics(name, len(items), sum(len(i.instances) for i in items), len(groups))


def _leaks(sides: Mapping[str, Sequence[LabelledImage]]) -> Iterator[Leak]:
    for (a, first), (b, second) in combinations(sides.items(), 2):
        if {item.name for item in first} & {item.name for item in second}:
            continue
        groups = {group_key(i.image) for i in first} & {group_key(i.image) for i in second}
        pictures = leakage((i.image for i in first), (i.image for i in second))
        if groups or pictures:
            yield Leak((a, b), tuple(sorted(groups)), tuple(pictures))


def _by_class(dataset: LabelledDataset) -> dict[str, int]:
    counts = Counter(int(c) for item in dataset for c in item.instances.classes)
    return {dataset.classes.get(c, str(c)): counts[c] for c in sorted({*counts, *dataset.classes})}


def _diameters(found: Instances) -> NDArray[np.float64]:
    """Diameter of the disc of the same area, (N,), px."""
    diameters: NDArray[np.float64] = np.sqrt(4 * found.areas / np.pi)
    return diameters


def _at_border(found: Instances) -> NDArray[np.bool_]:
    boxes, (height, width) = found.boxes, found.shape
    at: NDArray[np.bool_] = (boxes[:, :2] == 0).any(1)
    at |= (boxes[:, 2] == height) | (boxes[:, 3] == width)
    return at


def _joined(parts: Sequence[NDArray[np.generic]]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *(part.astype(np.float64) for part in parts)])


def _share(flags: NDArray[np.generic]) -> float:
    return float(flags.mean()) if flags.size else 0.0


def _spread(values: NDArray[np.float64]) -> Spread | None:
    if not values.size:
        return None
    low, middle, high = np.percentile(values, [5, 50, 95]).tolist()
    return low, middle, high
