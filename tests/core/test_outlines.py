"""Outlines are exact: filling them gives the mask back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from organoseg.core import Mask
from organoseg.core.outlines import Ring, outlines

BITS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


def fill(rings: list[Ring], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Even-odd filling: a pixel is in when an odd number of upright edges lies to its left."""
    canvas = np.zeros(shape, bool)
    for ring in rings:
        for (y0, x0), (y1, x1) in zip(ring.tolist(), np.roll(ring, -1, 0).tolist(), strict=True):
            if x0 == x1:
                canvas[min(y0, y1) : max(y0, y1), x0:] ^= True
    return canvas


def touches_itself(ring: Ring) -> bool:
    steps = [
        (y, x)
        for (y0, x0), (y1, x1) in zip(ring.tolist(), np.roll(ring, -1, 0).tolist(), strict=True)
        for y, x in zip(
            np.linspace(y0, y1, abs(y1 - y0) + abs(x1 - x0) + 1)[:-1].tolist(),
            np.linspace(x0, x1, abs(y1 - y0) + abs(x1 - x0) + 1)[:-1].tolist(),
            strict=True,
        )
    ]
    return len(set(steps)) < len(steps)


@given(BITS, st.integers(0, 5), st.integers(0, 5))
def test_any_mask_comes_back(bits: NDArray[np.bool_], y: int, x: int) -> None:
    mask = Mask.from_bits(bits, y, x)
    if mask is None:
        return
    parts = outlines(mask)
    canvas = np.zeros((16, 16), bool)
    canvas[y : y + bits.shape[0], x : x + bits.shape[1]] = bits
    assert (fill([r for p in parts for r in (p.outer, *p.holes)], (16, 16)) == canvas).all()
    for part in parts:
        assert not touches_itself(part.outer)
        whole = fill([part.outer], (16, 16))
        for hole in part.holes:
            assert not touches_itself(hole)
            assert (whole | fill([hole], (16, 16)) == whole).all()  # inside its own part


def test_a_square_has_four_corners_and_a_frame_a_hole() -> None:
    square = np.ones((4, 6), bool)
    (part,) = outlines(Mask(2, 3, square))
    assert sorted(map(tuple, part.outer.tolist())) == [(2, 3), (2, 9), (6, 3), (6, 9)]
    square[1:3, 2:4] = False
    (part,) = outlines(Mask(0, 0, square))
    assert len(part.holes) == 1
    assert sorted(map(tuple, part.holes[0].tolist())) == [(1, 2), (1, 4), (3, 2), (3, 4)]


def test_an_island_in_a_hole_is_a_part_and_the_largest_comes_first() -> None:
    bits = np.ones((9, 9), bool)
    bits[1:8, 1:8] = False
    bits[3:6, 3:6] = True
    bits[4, 4] = False
    big, island = outlines(Mask(0, 0, bits))
    assert (len(big.holes), len(island.holes)) == (1, 1)
    assert big.outer.max() == 9
    assert island.outer.max() == 6


@pytest.mark.parametrize("bits", [[[1, 0], [0, 1]], [[0, 1], [1, 0]]])
def test_pixels_that_meet_at_a_corner_are_two_parts(bits: list[list[int]]) -> None:
    assert [len(p.outer) for p in outlines(Mask(0, 0, np.array(bits, bool)))] == [4, 4]
