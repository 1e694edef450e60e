"""Labelled organoids laid over crops: light adds up, masks stay whole."""

import numpy as np
import pytest

from organoseg.core import Image, Instances, Mask
from organoseg.dataset import LabelledImage
from organoseg.distill.copy_paste import donors_of, paste


def disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return y**2 + x**2 <= radius**2


def labelled(*places: tuple[int, int, int]) -> LabelledImage:
    pixels = np.full((120, 120), 100, np.uint8)
    masks = []
    for y, x, radius in places:
        bits = disc(radius)
        mask = Mask.from_bits(
            bits[max(radius - y, 0) :, max(radius - x, 0) :], max(y - radius, 0), max(x - radius, 0)
        )
        assert mask is not None
        y0, x0, y1, x1 = mask.box
        pixels[y0:y1, x0:x1][mask.bits] = 60
        masks.append(mask)
    return LabelledImage(Image(pixels, name="a.png"), Instances.from_masks((120, 120), masks))


def test_donors_are_whole_and_alone() -> None:
    assert len(donors_of([labelled((40, 40, 10))])) == 1
    assert donors_of([labelled((3, 40, 10))]) == ()  # cut by the border
    assert donors_of([labelled((40, 40, 10), (40, 50, 10))]) == ()  # over each other


def test_a_pasted_organoid_darkens_what_lies_below_and_cuts_no_mask() -> None:
    donors = donors_of([labelled((60, 60, 12))])
    below = Instances.from_masks((100, 100), [Mask.from_bits(disc(15), 40, 40)])
    pixels = np.zeros((100, 100), np.float32)
    overlapped = 0
    for seed in range(40):
        out, seen = paste(np.random.default_rng(seed), pixels, below, donors)
        assert np.array_equal(seen.to_dense()[0], below.to_dense()[0])
        assert not pixels.any()
        if len(seen) == 1:
            assert out is pixels
            continue
        pasted = seen.to_dense()[1]
        assert seen.areas[1] >= disc(12).sum() / 2
        assert out[pasted].mean() < -0.5
        assert np.abs(out[~pasted]).mean() < 0.1
        overlapped += bool((pasted & below.to_dense()[0]).any())
    assert overlapped >= 10


def test_pasting_is_a_function_of_the_random_numbers() -> None:
    donors = donors_of([labelled((60, 60, 12))])
    pixels = np.zeros((100, 100), np.float32)
    first, again = (
        paste(np.random.default_rng(3), pixels, Instances.empty((100, 100)), donors)
        for _ in range(2)
    )
    assert np.array_equal(first[0], again[0])
    assert first[1].to_rles() == again[1].to_rles()


def test_the_score_of_a_pasted_organoid_is_certain() -> None:
    donors = donors_of([labelled((60, 60, 12))])
    for seed in range(20):
        _, seen = paste(
            np.random.default_rng(seed),
            np.zeros((200, 200), np.float32),
            Instances.empty((200, 200)),
            donors,
        )
        if len(seen):
            assert seen.scores.tolist() == [pytest.approx(1.0)]
