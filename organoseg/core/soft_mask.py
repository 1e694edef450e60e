"""SoftMask: how probable each pixel around one organoid is to belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.core.errors import DataError
from organoseg.core.mask import Mask

#: How far (px) a soft mask reaches beyond the box of its mask: the edge and what is just outside it.
MARGIN = 8


@dataclass(frozen=True, slots=True, eq=False)
class SoftMask:
    """Probabilities in a box of the image.

    y, x: its corner; values: float32 (h, w), 0 to 1, kept read-only; score: how sure it is that there is an organoid,
    0 to 1. Nothing is known of what lies outside the box. DataError when this does not hold.
    """

    y: int
    x: int
    values: NDArray[np.float32]
    score: float = 1.0

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values)
        if values.dtype != np.float32 or values.ndim != 2 or values.size == 0:
            raise DataError(f"A soft mask is float32 (h, w), not {values.dtype} {values.shape}")
        # Written so that what is not a number is refused too.
        if not (values.min() >= 0 and values.max() <= 1 and 0 <= self.score <= 1):
            raise DataError("Probabilities of a soft mask lie between 0 and 1")
        frozen = values.view()
        frozen.flags.writeable = False
        object.__setattr__(self, "values", frozen)

    @classmethod
    def of(cls, mask: Mask, shape: tuple[int, int], score: float = 1.0) -> SoftMask:
        """A mask as it is: 1 inside, 0 in its surroundings."""
        y, x, bottom, right = dilated(mask.box, shape)
        values = np.zeros((bottom - y, right - x), np.float32)
        y0, x0, y1, x1 = mask.box
        values[y0 - y : y1 - y, x0 - x : x1 - x] = mask.bits
        return cls(y, x, values, score)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(y0, x0, y1, x1), half-open."""
        height, width = self.values.shape
        return self.y, self.x, self.y + height, self.x + width

    def flip(self, shape: tuple[int, int], axis: int) -> SoftMask:
        """The same in an image of `shape` mirrored along axis 0 (up-down) or 1 (left-right)."""
        y0, x0, y1, x1 = self.box
        if axis == 0:
            return SoftMask(shape[0] - y1, x0, self.values[::-1], self.score)
        return SoftMask(y0, shape[1] - x1, self.values[:, ::-1], self.score)

    def rot90(self, shape: tuple[int, int], k: int) -> SoftMask:
        """The same in an image of `shape` turned as np.rot90 turns it, k quarters."""
        y0, x0, y1, x1 = self.box
        height, width = shape
        corners = [(y0, x0), (width - x1, y0), (height - y1, width - x1), (x0, height - y1)]
        y, x = corners[k % 4]
        return SoftMask(y, x, np.rot90(self.values, k), self.score)

    def resampled(
        self, box: tuple[int, int, int, int], shape: tuple[int, int], target: tuple[int, int]
    ) -> SoftMask:
        """The same in an image of `shape` resized to `target`, read bilinearly in a `box` of the resized image.

        Beyond its own box the nearest value holds.
        """
        from scipy.ndimage import map_coordinates

        rows = (np.arange(box[0], box[2]) + 0.5) * (shape[0] / target[0]) - 0.5 - self.y
        columns = (np.arange(box[1], box[3]) + 0.5) * (shape[1] / target[1]) - 0.5 - self.x
        grid = np.meshgrid(rows, columns, indexing="ij")
        values = map_coordinates(self.values, grid, order=1, mode="nearest", prefilter=False)
        return SoftMask(box[0], box[1], np.clip(values, 0, 1).astype(np.float32), self.score)


def dilated(
    box: tuple[int, int, int, int], shape: tuple[int, int], margin: int = MARGIN
) -> tuple[int, int, int, int]:
    """A box (y0, x0, y1, x1) with its surroundings, as far as the image of `shape` goes."""
    y0, x0, y1, x1 = box
    return (
        max(y0 - margin, 0),
        max(x0 - margin, 0),
        min(y1 + margin, shape[0]),
        min(x1 + margin, shape[1]),
    )


def mean_of(
    masks: Sequence[SoftMask],
    weights: Sequence[float],
    box: tuple[int, int, int, int],
    score: float,
) -> SoftMask:
    """The weighted mean of several soft masks of one organoid, in a `box`; where one does not reach it says 0."""
    total = np.zeros((box[2] - box[0], box[3] - box[1]), np.float64)
    for soft, weight in zip(masks, weights, strict=True):
        y0, x0 = max(soft.y, box[0]), max(soft.x, box[1])
        y1, x1 = min(soft.box[2], box[2]), min(soft.box[3], box[3])
        if y0 < y1 and x0 < x1:
            part = soft.values[y0 - soft.y : y1 - soft.y, x0 - soft.x : x1 - soft.x]
            total[y0 - box[0] : y1 - box[0], x0 - box[1] : x1 - box[1]] += weight * part
    values = np.clip(total / max(sum(weights), 1e-12), 0, 1).astype(np.float32)
    return SoftMask(box[0], box[1], values, score)
