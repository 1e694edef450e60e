"""Masks survive every change of form, and damaged forms are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco
from scipy import ndimage

from organoseg.core import DataError, Instances, Mask
from tests.core.strategies import organoids, same, stacks


@given(stacks())
def test_dense_round_trip(dense):
    assert np.array_equal(Instances.from_dense(dense).to_dense(), dense)


@given(organoids())
def test_run_lengths_round_trip_and_equal_pycocotools(made):
    rles = made.to_rles()
    for rle, plane in zip(rles, made.to_dense(), strict=True):
        expected = coco.encode(np.asfortranarray(plane.astype(np.uint8)))
        assert rle == {"size": expected["size"], "counts": expected["counts"].decode()}
    fields = {k: getattr(made, k) for k in ("scores", "classes", "ids", "sources")}
    assert same(Instances.from_rles(made.shape, rles, **fields), made)


@given(stacks(max_count=2))
def test_plain_run_lengths_are_read(dense):
    for plane in dense:
        flat = plane.T.ravel().astype(int)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [-1]])))
        counts = np.diff(np.concatenate([[0], edges])).tolist()
        read = Instances.from_rles(plane.shape, [{"size": list(plane.shape), "counts": counts}])
        assert np.array_equal(read.to_dense()[0], plane)


def _filled(plane):
    labels, count = ndimage.label(plane)
    parts = [ndimage.binary_fill_holes(labels == i) for i in range(1, count + 1)]
    return np.any(parts, axis=0)


@given(stacks(max_count=2))
def test_polygons_round_trip_but_for_holes(dense):
    back = Instances.from_polygons(dense.shape[1:], Instances.from_dense(dense).to_polygons())
    for plane, read in zip(dense, back.to_dense(), strict=True):
        assert np.array_equal(read, _filled(plane))


@given(
    st.lists(st.floats(-3, 23, allow_nan=False), min_size=6, max_size=16).filter(
        lambda p: len(p) % 2 == 0
    )
)
def test_polygons_are_rasterised_as_coco_does(polygon):
    expected = coco.decode(coco.merge(coco.frPyObjects([polygon], 20, 20))).astype(bool)
    made = Instances.from_polygons((20, 20), [[polygon]], drop_empty=True)
    assert np.array_equal(made.to_dense().any(axis=0), expected)


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_labels_round_trip(height, width, data):
    values = st.sampled_from([0, 1, 2, 7, 70_000, 2**31])
    flat = data.draw(st.lists(values, min_size=height * width, max_size=height * width))
    labels = np.array(flat, np.uint32).reshape(height, width)
    made = Instances.from_labels(labels)
    assert made.ids.tolist() == sorted(set(flat) - {0})
    assert np.array_equal(made.render(), labels)


@given(st.text(max_size=12), st.integers(1, 6), st.integers(1, 6))
def test_hostile_run_lengths_raise_or_decode_whole(text, height, width):
    try:
        made = Instances.from_rles((height, width), [{"size": [height, width], "counts": text}])
    except DataError:
        return
    assert made.to_rles()[0]["size"] == [height, width]


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [4, 4], "counts": [3, 4]},
        {"size": [4, 4], "counts": [20, -4]},
        {"size": [4, 4], "counts": [1.5, "x"]},
        {"size": [4, 4], "counts": None},
        {"size": [5, 4], "counts": [16, 4]},
        {"size": 4, "counts": [16]},
        {"counts": [16]},
        {"size": [4, 4], "counts": [2**70]},
        {"size": [4, 4], "counts": "é"},
        {"size": [4, 4], "counts": ""},
        {"size": [4, 4], "counts": "o" * 40},
    ],
)
def test_damaged_run_lengths_are_refused(rle):
    with pytest.raises(DataError):
        Instances.from_rles((4, 4), [rle])


@pytest.mark.parametrize(
    "polygon",
    [
        [0, 0, 3, 3],
        [0, 0, 3, 3, 1],
        [0, 0, 3, 0, np.nan, 3],
        [0, 0, 1e9, 0, 3, 3],
        ["a"] * 6,
        [[0]],
    ],
)
def test_damaged_polygons_are_refused(polygon):
    with pytest.raises(DataError):
        Instances.from_polygons((4, 4), [[polygon]])


@pytest.mark.parametrize(
    "labels", [np.array([[-1]]), np.array([[0.5]]), np.zeros((2, 2, 2), int), np.array([["a"]])]
)
def test_what_is_no_label_image_is_refused(labels):
    with pytest.raises(DataError):
        Instances.from_labels(labels)


def test_empty_masks_are_refused_unless_dropped_with_their_fields():
    dense = np.zeros((3, 4, 4), np.bool_)
    dense[1, 2, 2] = True
    with pytest.raises(DataError, match="2 of 3"):
        Instances.from_dense(dense)
    made = Instances.from_dense(dense, scores=[0.1, 0.2, 0.3], ids=[7, 8, 9], drop_empty=True)
    assert made.ids.tolist() == [8]
    assert made.scores.tolist() == pytest.approx([0.2])


def test_a_mask_owns_its_pixels_and_keeps_them():
    bits = np.ones((2, 2), np.bool_)
    mask = Mask.from_bits(bits, 3, 4)
    bits[:] = False
    assert mask.area == 4
    assert mask.box == (3, 4, 5, 6)
    assert mask.centroid == (3.5, 4.5)
    with pytest.raises(ValueError, match="read-only"):
        mask.bits[0, 0] = False
    assert Mask.from_bits(bits) is None
    with pytest.raises(DataError, match="tight"):
        Mask(0, 0, np.array([[True, False]]))
