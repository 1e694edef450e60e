"""Images: what is refused, identity, normalisation; errors as the user sees them."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from organoseg.core import DataError, Image, MissingPartError, UsageError, pixel_hash

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.mark.parametrize(
    "fields",
    [
        {"pixels": GREY.astype(np.float64)},
        {"pixels": GREY, "axes": "XY"},
        {"pixels": GREY, "axes": "ZYX"},
        {"pixels": GREY[None], "axes": "SYX"},
        {"pixels": GREY[:0]},
        {"pixels": GREY, "pixel_size": (0.5, 0)},
        {"pixels": GREY, "pixel_size": (np.nan, 1)},
    ],
)
def test_what_is_no_image_is_refused_by_name(fields):
    with pytest.raises(DataError, match=r"well\.tif"):
        Image(name="well.tif", **fields)


def test_plane_needs_one_plane():
    assert np.array_equal(Image(GREY[None], "ZYX").plane(), GREY)
    with pytest.raises(DataError, match=r"Z=2.*Choose"):
        Image(np.stack([GREY, GREY]), "ZYX", name="stack.tif").plane()


def test_pixels_are_read_only_and_the_callers_array_is_not():
    own = GREY.copy()
    image = Image(own)
    with pytest.raises(ValueError, match="read-only"):
        image.pixels[0, 0] = 1
    own[0, 0] = 1


@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16, np.float32]), (3, 5)))
def test_identity_is_of_the_picture_not_of_its_layout(pixels):
    first = Image(pixels, name="a").identity
    assert first == Image(np.asfortranarray(pixels), name="b").identity
    assert first == pixel_hash(pixels.astype(pixels.dtype.newbyteorder(">")))
    assert first != pixel_hash(pixels.astype(np.float64))
    assert first != pixel_hash(pixels.reshape(5, 3))
    changed = pixels.copy()
    changed[1, 2] = 1 if pixels[1, 2] != 1 else 2
    assert first != pixel_hash(changed)


def test_errors_say_what_where_and_what_to_do_also_from_a_worker():
    error = MissingPartError(
        "No reader for CZI.", where="a.czi", remedy="pip install organoseg[czi]"
    )
    assert str(error) == "No reader for CZI (a.czi). pip install organoseg[czi]"
    assert isinstance(error, UsageError)
    assert (error.exit_code, DataError("x").exit_code) == (2, 3)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (as DataLoader workers do)
    assert str(copy) == str(error)
