"""One normalisation for every plane, wherever it is stored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from organoseg.core import DataError, Intensity, normalised
from organoseg.core.intensity import halved, smallest_level

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)


@given(hnp.arrays(np.uint16, SHAPES), st.integers(1, 5))
def test_gain_and_offset_of_the_camera_do_not_matter(pixels, gain):
    out = normalised(pixels)
    assert out.dtype == np.float32
    assert out.shape == pixels.shape
    if pixels.min() == pixels.max():
        assert not out.any()
        return
    changed = pixels.astype(np.float64) * gain + 7
    assert np.allclose(out, normalised(changed), atol=1e-3, rtol=1e-3)


@given(hnp.arrays(np.uint8, SHAPES))
def test_counting_bytes_gives_the_percentiles_that_sorting_gives(pixels):
    counted, sorted_ = Intensity.of(pixels), Intensity.of(pixels.astype(np.float32))
    assert (counted.low, counted.middle, counted.high) == pytest.approx(
        (sorted_.low, sorted_.middle, sorted_.high), abs=1e-3
    )


def test_the_middle_grey_is_0_and_the_usual_range_spans_2():
    pixels = np.random.default_rng(0).normal(900, 30, (300, 400)).astype(np.float32)
    out = normalised(pixels)
    low, middle, high = np.percentile(out, (0.5, 50, 99.5))
    assert middle == pytest.approx(0, abs=1e-4)
    assert high - low == pytest.approx(2, rel=1e-4)


def test_a_hot_pixel_does_not_darken_the_rest():
    pixels = np.random.default_rng(0).normal(900, 30, (300, 400)).astype(np.float32)
    hot = pixels.copy()
    hot[17, 23] = 65535
    assert np.abs(normalised(hot) - normalised(pixels))[:17].max() < 0.01


def test_a_few_pixels_that_differ_are_seen():
    pixels = np.zeros((200, 200), np.uint8)
    pixels[3, 4] = 255
    assert normalised(pixels)[3, 4] == pytest.approx(2)


def test_the_smallest_level_is_made_of_means():
    assert halved(np.array([[0, 2, 8], [4, 6, 12]], np.uint16)).tolist() == [[3, 10]]
    ramp = np.tile(np.arange(2048, dtype=np.uint16), (1024, 1))
    small = smallest_level(ramp)
    assert small.shape == (256, 512)
    assert np.allclose(small[0], np.arange(512) * 4 + 1.5)
    assert Intensity.of(ramp).middle == pytest.approx(1023.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [4, 1100])
def test_what_is_no_number_is_refused_by_name(bad, side):
    pixels = np.ones((side, side), np.float32)
    pixels[1, 1] = bad
    with pytest.raises(DataError, match=r"a\.tif"):
        normalised(pixels, "a.tif")
