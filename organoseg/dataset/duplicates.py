"""The same picture twice: within a set, or on both sides of a split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Image

# Width of the grid that near-duplicates are compared on; hash bits are its square.
_GRID = 16


def find_duplicates(images: Iterable[Image]) -> list[tuple[str, ...]]:
    """Names of images with exactly the same pixels, one tuple for each picture held twice or more.

    Compared by the hash of the decoded pixels, so the same picture in two file formats is found.
    """
    return [tuple(names) for names in _by_pixels(images).values() if len(names) > 1]


def leakage(train: Iterable[Image], test: Iterable[Image]) -> list[tuple[str, str]]:
    """Pairs (name in ``train``, name in ``test``) of images with exactly the same pixels."""
    seen = _by_pixels(train)
    return [(name, other.name) for other in test for name in seen.get(other.identity, [])]


def find_near_duplicates(
    images: Iterable[Image], max_distance: int = 6
) -> list[tuple[str, str, int]]:
    """Pairs of images that look alike though their pixels differ (saved again, brightened).

    Compares `difference_hash`; returns (name, name, differing bits of 256) up to
    ``max_distance``. A hint for a person to look at: blank fields look alike too.
    """
    names, hashes = [], []
    for image in images:
        names.append(image.name)
        hashes.append(difference_hash(image.plane()))
    found = []
    for i in range(len(hashes) - 1):
        distances = np.count_nonzero(np.stack(hashes[i + 1 :]) != hashes[i], axis=1)
        for offset in np.flatnonzero(distances <= max_distance):
            j = i + 1 + int(offset)
            found.append((names[i], names[j], int(distances[offset])))
    return found


def difference_hash(pixels: NDArray[np.generic]) -> NDArray[np.bool_]:
    """256 bits, bool (256,): whether brightness falls to the right, on a 16 x 16 grid of cells."""
    height, width = pixels.shape
    rows = np.linspace(0, height, _GRID + 1).astype(int)
    columns = np.linspace(0, width, _GRID + 2).astype(int)
    # Cumulative sums make a cell's mean cheap and defined even when cells are under one pixel.
    total = np.pad(pixels.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    cells = np.diff(np.diff(total[np.ix_(rows, columns)], axis=0), axis=1)
    counts = np.outer(np.diff(rows), np.diff(columns))
    means = cells / np.maximum(counts, 1)
    bits: NDArray[np.bool_] = (means[:, :-1] > means[:, 1:]).ravel()
    return bits


def _by_pixels(images: Iterable[Image]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for image in images:
        found[image.identity].append(image.name)
    return found
