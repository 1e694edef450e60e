"""Mask: the pixels of one organoid, held in their bounding box."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.core.errors import DataError

Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """One organoid: `bits` (h, w) with its corner at row `y`, column `x` of the image.

    The box is tight: each border row and column of `bits` holds a True. `bits` is kept read-only.
    DataError when this does not hold; `Mask.from_bits` makes it hold.
    """

    y: int
    x: int
    bits: Bits

    def __post_init__(self) -> None:
        bits = self.bits
        if bits.dtype != np.bool_ or bits.ndim != 2 or bits.size == 0:
            raise DataError(f"A mask is bool (h, w), not {bits.dtype} {bits.shape}")
        if not (bits[0].any() and bits[-1].any() and bits[:, 0].any() and bits[:, -1].any()):
            raise DataError(
                "The box of a mask is not tight around its pixels", remedy="Use Mask.from_bits"
            )
        frozen = np.ascontiguousarray(bits).view()
        frozen.flags.writeable = False
        object.__setattr__(self, "bits", frozen)

    @classmethod
    def from_bits(cls, bits: NDArray[np.bool_], y: int = 0, x: int = 0) -> "Mask | None":
        """The mask of the True pixels of `bits` (h, w), whose corner is at (y, x); None if empty.

        The result owns its pixels: later changes to `bits` do not reach it.
        """
        bits = np.asarray(bits, np.bool_)
        rows = np.flatnonzero(bits.any(axis=1))
        if rows.size == 0:
            return None
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(bits[top:bottom].any(axis=0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        return cls(int(y) + top, int(x) + left, bits[top:bottom, left:right].copy())

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.bits))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(y0, x0, y1, x1), half-open."""
        height, width = self.bits.shape
        return self.y, self.x, self.y + height, self.x + width

    @property
    def centroid(self) -> tuple[float, float]:
        """Mean (row, column) of the pixels."""
        height, width = self.bits.shape
        area = self.area
        row = float(self.bits.sum(axis=1) @ np.arange(height)) / area
        column = float(self.bits.sum(axis=0) @ np.arange(width)) / area
        return self.y + row, self.x + column
