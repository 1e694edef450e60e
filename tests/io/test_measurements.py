"""Shapes whose figures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.measure import perimeter_crofton

from organoseg.core import Image, Instances, Mask
from organoseg.io import COLUMNS, measure
from organoseg.io.shape import crofton, eccentricity, feret_and_hull


def disc(radius: int, squeeze: float = 1.0) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (rows / squeeze) ** 2 + columns**2 <= radius**2


def row_of(bits: NDArray[np.bool_], size: tuple[float, float] | None = None) -> dict[str, object]:
    shape = (bits.shape[0] + 20, bits.shape[1] + 20)
    mask = Mask.from_bits(bits, 10, 10)
    assert mask is not None
    image = Image(np.full(shape, 3, np.uint8), pixel_size=size, name="a.tif")
    (row,) = measure(Instances.from_masks(shape, [mask]), image)
    assert tuple(row) == COLUMNS
    return row


def test_a_square() -> None:
    row = row_of(np.ones((40, 40), bool), (0.5, 0.5))
    assert (row["area_px"], row["area_um2"]) == (1600, 400)
    assert row["feret_px"] == pytest.approx(40 * math.sqrt(2))
    assert row["feret_um"] == pytest.approx(20 * math.sqrt(2))
    assert row["perimeter_px"] == pytest.approx(160, rel=0.06)
    assert row["perimeter_um"] == pytest.approx(row["perimeter_px"] / 2)
    assert row["circularity"] == pytest.approx(math.pi / 4, rel=0.14)  # of four directions
    assert row["solidity"] == pytest.approx(1)
    assert row["eccentricity"] == pytest.approx(0, abs=1e-6)
    assert (row["y"], row["x"], row["y_um"], row["x_um"]) == (29.5, 29.5, 14.75, 14.75)


def test_a_ring_has_two_borders_and_no_area_inside() -> None:
    bits = np.pad(disc(40), 0)
    bits[20:61, 20:61] &= ~disc(20)
    row = row_of(bits)
    assert row["area_px"] == pytest.approx(math.pi * (40**2 - 20**2), rel=0.01)
    assert row["perimeter_px"] == pytest.approx(2 * math.pi * 60, rel=0.02)
    assert row["solidity"] == pytest.approx(0.75, rel=0.03)
    assert row["circularity"] == pytest.approx(1200 / 3600, rel=0.03)
    assert row["feret_px"] == pytest.approx(81, rel=0.01)


def test_a_line_of_one_pixel() -> None:
    row = row_of(np.ones((1, 50), bool))
    assert row["area_px"] == 50
    assert row["feret_px"] == pytest.approx(math.hypot(50, 1))
    assert row["solidity"] == pytest.approx(1)
    assert row["eccentricity"] == pytest.approx(math.sqrt(1 - 1 / 2500))
    assert row["circularity"] < 0.1


def test_a_single_pixel_has_every_figure() -> None:
    row = row_of(np.ones((1, 1), bool), (2.0, 2.0))
    assert (row["area_px"], row["area_um2"], row["circularity"], row["eccentricity"]) == (
        1,
        4,
        1,
        0,
    )
    assert row["feret_um"] == pytest.approx(2 * math.sqrt(2))
    assert row["equivalent_diameter_um"] == pytest.approx(4 / math.sqrt(math.pi))
    assert all(math.isfinite(v) for v in row.values() if isinstance(v, float))


def test_pixels_that_are_not_square_are_measured_in_um() -> None:
    """A disc of 40 µm, whose image has pixels of .5 x 1 µm: in the pixels it is an ellipse."""
    rows, columns = np.mgrid[-40:41, -20:21]
    row = row_of((rows * 0.5) ** 2 + columns**2 <= 20**2, (0.5, 1.0))
    assert row["equivalent_diameter_um"] == pytest.approx(40, rel=0.01)
    assert row["feret_um"] == pytest.approx(40.8, rel=0.02)
    assert row["perimeter_um"] == pytest.approx(40 * math.pi, rel=0.03)
    assert row["eccentricity"] == pytest.approx(0, abs=0.1)
    assert row["circularity"] > 0.93
    assert row["feret_px"] == pytest.approx(81, rel=0.01)


def test_without_a_pixel_size_the_columns_are_there_and_empty() -> None:
    row = row_of(disc(5))
    assert {name for name, value in row.items() if value is None} == {
        "area_um2", "equivalent_diameter_um", "feret_um", "perimeter_um", "y_um", "x_um",
    }  # fmt: skip


def test_classes_are_named_where_names_are_known() -> None:
    found = Instances.from_masks((9, 9), [Mask(1, 1, np.ones((2, 2), bool))], classes=[3])
    assert measure(found)[0]["class"] == 3
    assert measure(found, classes={3: "cyst"})[0]["class"] == "cyst"


def test_border_and_overlap() -> None:
    square = np.ones((4, 4), bool)
    masks = [Mask(0, 3, square), Mask(2, 3, square), Mask(10, 10, square), Mask(16, 16, square)]
    rows = measure(Instances.from_masks((20, 20), masks))
    assert [row["touches_border"] for row in rows] == [True, False, False, True]
    assert [row["overlap_fraction"] for row in rows] == [0.5, 0.5, 0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_the_perimeter_is_crofton_s_as_others_compute_it(seed: int) -> None:
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(80, 90)), 3)
    mask = Mask.from_bits(noise > 0.03)
    assert mask is not None
    theirs = perimeter_crofton(mask.bits, directions=4)
    # They join pixels that meet at corners by their own rule, so not to the last digit.
    assert crofton(mask) == pytest.approx(theirs, rel=0.01)
    assert crofton(mask, (0.3, 0.3)) == pytest.approx(0.3 * crofton(mask))
    assert eccentricity(mask, (0.3, 0.3)) == pytest.approx(eccentricity(mask))
    assert feret_and_hull(mask, (0.3, 0.3))[0] == pytest.approx(0.3 * feret_and_hull(mask)[0])
