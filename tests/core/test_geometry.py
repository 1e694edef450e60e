"""Masks move with their image: each change equals the same change of the dense stack."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from organoseg.core import DataError, Instances
from tests.core.strategies import organoids, same


@given(organoids(), st.integers(0, 1))
def test_flip_is_np_flip_and_its_own_inverse(made, axis):
    flipped = made.flip(axis)
    assert np.array_equal(flipped.to_dense(), np.flip(made.to_dense(), axis + 1))
    assert same(flipped.flip(axis), made)


@given(organoids(), st.integers(-5, 5))
def test_rot90_is_np_rot90_and_four_make_none(made, k):
    turned = made.rot90(k)
    assert np.array_equal(turned.to_dense(), np.rot90(made.to_dense(), k, (1, 2)))
    assert same(turned.rot90(4 - k), made)


@given(organoids(), st.data())
def test_crop_equals_dense_crop_also_beyond_the_border(made, data):
    height, width = made.shape
    y, x = data.draw(st.integers(-4, height + 2)), data.draw(st.integers(-4, width + 2))
    h, w = data.draw(st.integers(1, 16)), data.draw(st.integers(1, 16))
    least = data.draw(st.integers(1, 4))
    padded = np.pad(made.to_dense(), ((0, 0), (30, 30), (30, 30)))
    dense = padded[:, 30 + y : 30 + y + h, 30 + x : 30 + x + w]
    kept = dense.sum(axis=(1, 2)) >= least
    crop = made.crop(y, x, h, w, min_area=least)
    assert crop.shape == (h, w)
    assert np.array_equal(crop.to_dense(), dense[kept])
    assert np.array_equal(crop.ids, made.ids[kept])
    assert np.array_equal(crop.scores, made.scores[kept])


@given(organoids(), st.integers(1, 4), st.integers(1, 4))
def test_growing_repeats_pixels_and_shrinking_undoes_it(made, rows, columns):
    height, width = made.shape
    grown = made.scale((height * rows, width * columns))
    expected = made.to_dense().repeat(rows, axis=1).repeat(columns, axis=2)
    assert np.array_equal(grown.to_dense(), expected)
    assert same(grown.scale(made.shape), made)


@given(organoids(), st.integers(1, 20), st.integers(1, 20))
def test_scale_is_a_majority_vote_of_area(made, height, width):
    scaled = made.scale((height, width))
    # Exact areas: repeat each pixel until both grids fit, then average.
    fine = made.to_dense().repeat(height, axis=1).repeat(width, axis=2).astype(float)
    h, w = made.shape
    share = fine.reshape(len(made), height, h, width, w).mean(axis=(2, 4))
    expected = share >= 0.5 - 1e-9
    assert np.array_equal(scaled.to_dense(), expected[expected.any(axis=(1, 2))])


def test_unreal_targets_are_refused():
    made = Instances.empty((4, 4))
    for shape in ((0, 4), (4, -1), (4.5, 4), (4,)):
        with pytest.raises(DataError):
            made.scale(shape)
    with pytest.raises(DataError):
        made.flip(2)
