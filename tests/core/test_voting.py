"""One mask from several drawings."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from organoseg.core import Mask, vote


def square(y: int, x: int, side: int) -> Mask:
    return Mask(y, x, np.ones((side, side), bool))


def test_one_drawing_is_kept_as_it_is() -> None:
    mask = square(3, 4, 5)
    assert vote([mask], [0.0]) is mask


def test_the_majority_of_three_wins_pixel_by_pixel() -> None:
    voted = vote([square(0, 0, 4), square(0, 1, 4), square(0, 2, 4)], [1.0, 1.0, 1.0])
    assert voted is not None
    assert voted.box == (0, 1, 4, 5)
    assert voted.area == 16


def test_weight_counts() -> None:
    voted = vote([square(0, 0, 4), square(10, 10, 2)], [3.0, 1.0])
    assert voted is not None
    assert voted.box == (0, 0, 4, 4)


def test_no_pixel_with_a_majority_is_no_mask() -> None:
    assert vote([square(0, 0, 2), square(5, 5, 2)], [1.0, 1.0]) is None


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 6), st.integers(2, 5))
def test_drawings_that_are_equal_give_themselves(y: int, x: int, side: int, times: int) -> None:
    voted = vote([square(y, x, side)] * times, [1.0] * times)
    assert voted is not None
    assert voted.box == (y, x, y + side, x + side)
    assert voted.bits.all()
