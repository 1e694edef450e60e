"""Cutting, outlines and windows of the review: pixels, without a viewer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoseg.core import Mask, UsageError
from organoseg_napari import contours
from organoseg_napari.contours import Outlined
from organoseg_napari.cutting import split


def disc(y: float, x: float, radius: float, size: int = 120) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def mask_of(bits: np.ndarray) -> Mask:
    mask = Mask.from_bits(bits)
    assert mask is not None
    return mask


def whole(masks: list[Mask], size: int = 120) -> np.ndarray:
    bits = np.zeros((size, size), int)
    for mask in masks:
        y0, x0, y1, x1 = mask.box
        bits[y0:y1, x0:x1] += mask.bits
    return bits


def test_two_that_touch_are_cut_at_their_waist() -> None:
    both = disc(50, 40, 20) | disc(50, 74, 20)
    pieces = split(mask_of(both))
    assert len(pieces) == 2
    assert np.array_equal(whole(pieces) == 1, both), "no pixel is lost, none is given twice"
    assert abs(pieces[0].centroid[1] - pieces[1].centroid[1]) > 25


@pytest.mark.parametrize("bits", [disc(50, 50, 20), disc(50, 50, 20) | disc(50, 55, 20)])
def test_what_has_no_waist_is_not_cut(bits: np.ndarray) -> None:
    with pytest.raises(UsageError, match="waist"):
        split(mask_of(bits))


@given(st.integers(35, 65), st.integers(1, 4), st.booleans())
@settings(max_examples=20, deadline=None)
def test_an_erased_line_cuts_and_costs_nothing(place: int, width: int, upright: bool) -> None:
    before = disc(50, 50, 25)
    now = before.copy()
    line = (slice(None), slice(place, place + width))
    now[line if upright else line[::-1]] = False
    pieces = split(mask_of(now), mask_of(before))
    assert len(pieces) == 2
    assert np.array_equal(whole(pieces) == 1, before)


def test_what_was_erased_elsewhere_stays_erased_and_crumbs_are_no_organoids() -> None:
    before = disc(50, 50, 25)
    now = before.copy()
    now[:, 50:52] = False
    now[40:45, 28:33] = False  # a bite inside one half
    now[20:30] = False
    now[26, 49] = True  # a crumb
    pieces = split(mask_of(now), mask_of(before))
    assert len(pieces) == 2
    assert not whole(pieces)[40:45, 28:33].any()


def test_outlines_cross_and_a_window_is_drawn_as_the_whole() -> None:
    masks = {1: mask_of(disc(50, 45, 20)), 2: mask_of(disc(50, 60, 20)), 7: mask_of(disc(9, 9, 8))}
    organoids = {n: Outlined(m, 1 + n % 4) for n, m in masks.items()}
    all_at_once = np.zeros((120, 120), np.uint8)
    contours.draw(all_at_once, organoids)
    for number, mask in masks.items():
        y0, x0, y1, x1 = mask.box
        line = contours.ring(mask, 1)
        shown = all_at_once[y0:y1, x0:x1][line]
        assert (shown > 0).all(), "an outline is whole, also where another lies over it"
        assert number != 2 or (shown == 3).all(), "later ones lie on top"
    by_windows = np.full((120, 120), 9, np.uint8)
    for y in range(-10, 130, 50):
        for x in range(-10, 130, 50):
            contours.draw(by_windows, organoids, (y, x, y + 50, x + 50))
    assert np.array_equal(by_windows, all_at_once)


@pytest.mark.parametrize(("side", "width"), [(100, 1), (1024, 1), (1025, 2), (4096, 4)])
def test_outlines_are_seen_when_the_whole_image_is(side: int, width: int) -> None:
    assert contours.thickness((side, 50)) == width


def test_a_mask_of_one_pixel_has_an_outline() -> None:
    assert contours.ring(mask_of(disc(5, 5, 0)), 3).all()
    assert contours.union([]) is None
    assert contours.union([(1, 2, 3, 4), (0, 5, 2, 9)]) == (0, 2, 3, 9)
