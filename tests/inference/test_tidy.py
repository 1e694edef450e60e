"""Masks without stray pixels and holes: what stays, what goes, and that nothing else changes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from organoseg.core import Instances, Mask
from organoseg.inference.tidy import tidied, tidy


def mask(*rows: str) -> Mask:
    """Drawn with #."""
    found = Mask.from_bits(np.array([[c == "#" for c in row] for row in rows]), 5, 7)
    assert found is not None
    return found


def drawn(found: Mask) -> list[str]:
    return ["".join("#" if bit else "." for bit in row) for row in found.bits]


def test_a_stray_pixel_goes_and_the_box_closes_around_the_rest() -> None:
    found = tidied(mask("####.....", "####.....", "####....#"))
    assert drawn(found) == ["####"] * 3
    assert (found.y, found.x) == (5, 7)
    found = tidied(mask("#......", "...####", "...####", "...####"))
    assert drawn(found) == ["####"] * 3
    assert (found.y, found.x) == (6, 10)


def test_a_hole_is_filled_also_one_with_a_stray_pixel_and_a_bay_is_no_hole() -> None:
    assert drawn(tidied(mask("####", "#..#", "####"))) == ["####"] * 3
    island = tidied(mask("#######", "#.....#", "#..#..#", "#.....#", "#######"))
    assert drawn(island) == ["#" * 7] * 5
    bay = mask("####", "#..#", "#..#")
    assert tidied(bay) is bay


def test_a_piece_of_a_tenth_stays_and_pixels_that_touch_at_a_corner_belong_together() -> None:
    half_hidden = mask("##########", "..........", "#.........")
    assert tidied(half_hidden) is half_hidden
    corner = mask(*["#" * 4 + "."] * 4, "....#")
    assert tidied(corner) is corner


def test_what_needs_nothing_is_the_same_object_and_fields_stay() -> None:
    clean = Instances.from_masks((20, 20), [mask("##", "##")], scores=[0.4], classes=[3], ids=[9])
    assert tidy(clean) is clean
    mixed = Instances.from_masks(
        (20, 20), [mask("##", "##"), mask("###", "#.#", "###")],
        scores=[0.4, 0.9], classes=[3, 1], ids=[9, 2], sources=["a", "b"],
    )  # fmt: skip
    found = tidy(mixed)
    assert found.masks[0] is mixed.masks[0]
    assert found.areas.tolist() == [4, 9]
    assert found.scores.tolist() == mixed.scores.tolist()
    assert (found.classes.tolist(), found.ids.tolist(), found.sources) == (
        [3, 1],
        [9, 2],
        ("a", "b"),
    )
    empty = Instances.empty((20, 20))
    assert tidy(empty) is empty


@given(arrays(bool, (9, 11)))
def test_whatever_the_mask_it_is_solid_afterwards_and_a_second_time_changes_nothing(
    bits: np.ndarray,
) -> None:
    before = Mask.from_bits(bits)
    if before is None:
        return
    after = tidied(before)
    pieces, _ = ndimage.label(after.bits, np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel())[1:]
    assert sizes.min() >= 0.1 * sizes.max()
    assert np.array_equal(ndimage.binary_fill_holes(after.bits), after.bits)
    assert tidied(after) is after


@given(st.integers(1, 30), st.integers(1, 30))
def test_a_solid_rectangle_stays_as_it_is(height: int, width: int) -> None:
    whole = Mask.from_bits(np.ones((height, width), bool))
    assert whole is not None
    assert tidied(whole) is whole
