"""Which crops are taken, and in which order, as a function of the seed alone.

A chunk is decoded whole however little of it is wanted. So the stream is made of reads: one cell is drawn, the region
of chunks around it is read once, and several crops are cut from it. The crops of a block of reads are then shuffled, so
that crops of one region seldom meet in one batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.archive.draws import Draws

_BLOCK, _AGAIN = 11, 12


@dataclass(frozen=True, slots=True)
class Window:
    """A crop of a view, in px."""

    view: int
    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Block:
    """Windows read by read (``crops`` a read), and ``order``: the place of each sample among the windows."""

    number: int
    windows: tuple[Window, ...]
    order: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Blocks:
    """The plan of the stream. ``crop``: side in px; ``reads`` a block, ``crops`` a read.

    A plane of at most ``whole`` px a side is taken whole.
    """

    draws: Draws
    seed: int
    crop: int
    reads: int = 16
    crops: int = 8
    whole: int = 0

    @property
    def size(self) -> int:
        """Samples of a block."""
        return self.reads * self.crops

    def block(self, number: int) -> Block:
        """All windows of a block, read by read. The same for every process and at every time."""
        rng = np.random.default_rng((self.seed, _BLOCK, number))
        anchors = self.draws.pick(rng.random(self.reads))
        chance = rng.random((self.reads, 2 + 3 * self.crops))
        windows = tuple(
            window
            for anchor, row in zip(anchors.tolist(), chance, strict=True)
            for window in self._windows(anchor, row)
        )
        return Block(number, windows, rng.permutation(self.size))

    def again(self, sample: int, attempt: int) -> Window:
        """What is taken for a sample whose window can not be read: a window of its own, drawn anew."""
        rng = np.random.default_rng((self.seed, _AGAIN, sample, attempt))
        anchor = int(self.draws.pick(rng.random(1))[0])
        return self._windows(anchor, rng.random(5))[0]

    def _windows(self, anchor: int, chance: NDArray[np.float64]) -> list[Window]:
        """Crops of the region around a cell. A region's cells are drawn by weight, so that in the long run each cell
        comes as often as it should: for each offset the regions are a partition of the plane."""
        draws = self.draws
        view = int(draws.cells.plane[anchor])
        array = draws.manifest.arrays[int(draws.manifest.planes.array[draws.views.plane[view]])]
        rows = slice(int(draws.first[view]), int(draws.first[view + 1]))
        y, x = draws.cells.y[rows], draws.cells.x[rows]
        (top, bottom), (left, right) = (
            _region(int(along[anchor]), whole, tile, 2 * self.crop, float(luck))
            for along, whole, tile, luck in zip(
                (draws.cells.y, draws.cells.x), array.size, array.tile, chance, strict=False
            )
        )
        inside = np.flatnonzero((y >= top) & (y < bottom) & (x >= left) & (x < right))
        luck = chance[2:].reshape(-1, 3)
        weights = np.cumsum(draws.weights[rows][inside])
        chosen = inside[
            np.minimum(
                np.searchsorted(weights, luck[:, 0] * weights[-1], side="right"), len(inside) - 1
            )
        ]
        crop = self.whole if max(array.size) <= self.whole else self.crop
        high, wide = (min(crop, side) for side in array.size)
        tops = _starts(
            y[chosen] + luck[:, 1] * draws.cells.height[rows][chosen],
            top,
            min(bottom, array.size[0]),
            high,
            array.size[0],
        )
        lefts = _starts(
            x[chosen] + luck[:, 2] * draws.cells.width[rows][chosen],
            left,
            min(right, array.size[1]),
            wide,
            array.size[1],
        )
        pairs = zip(tops.tolist(), lefts.tolist(), strict=True)
        return [Window(view, a, b, high, wide) for a, b in pairs]


def _region(at: int, whole: int, tile: int, least: int, luck: float) -> tuple[int, int]:
    """From and to (px) of the run of chunks that holds ``at``: at least ``least`` px, begun at a random chunk."""
    count = -(-least // tile)
    side = count * tile
    if side >= whole:
        return 0, whole
    offset = int(luck * count) * tile
    start = (at + offset) // side * side - offset
    return max(start, 0), min(start + side, whole)


def _starts(
    centres: NDArray[np.float64], low: int, high: int, crop: int, whole: int
) -> NDArray[np.int64]:
    """First px of crops: where a centre lies in the region, there the crop lies among all that fit in.

    A strip at the border that is narrower than a crop is widened into the plane.
    """
    part = (centres - low) / max(high - low, 1)
    if high - low < crop:
        low = max(high - crop, 0)
        high = min(low + crop, whole)
    room = high - low - crop + 1
    found = low + np.floor(part * room).astype(np.int64)
    return np.clip(found, low, low + room - 1)
