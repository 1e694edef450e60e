"""Overlap, suppression, rendering and the laws a set of organoids keeps."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from organoseg.core import DataError, Instances, Mask
from tests.core.strategies import organoids, same


@st.composite
def two(draw):
    a = draw(organoids())
    dense = draw(organoids(max_side=12)).to_dense()
    fitted = np.zeros((len(dense), *a.shape), np.bool_)
    h, w = min(a.shape[0], dense.shape[1]), min(a.shape[1], dense.shape[2])
    fitted[:, :h, :w] = dense[:, :h, :w]
    return a, Instances.from_dense(fitted, drop_empty=True)


@given(two())
def test_iou_equals_a_naive_count(pair):
    a, b = pair
    iou, shared = a.iou(b), a.intersection(b)
    assert iou.shape == (len(a), len(b))
    for i, first in enumerate(a.to_dense()):
        for j, second in enumerate(b.to_dense()):
            assert shared[i, j] == (first & second).sum()
            assert iou[i, j] == (first & second).sum() / (first | second).sum()


@given(organoids())
def test_overlap_fraction_equals_a_naive_count(made):
    dense = made.to_dense()
    for i, plane in enumerate(dense):
        others = np.delete(dense, i, axis=0).any(axis=0)
        assert made.overlap_fraction()[i] == (plane & others).sum() / plane.sum()


@given(organoids(), st.floats(0, 1))
def test_nms_keeps_the_best_and_removes_only_what_a_better_one_covers(made, limit):
    iou = made.iou(made)
    kept = []
    for i in sorted(range(len(made)), key=lambda i: (-made.scores[i], made.ids[i])):
        if all(iou[i, j] <= limit for j in kept):
            kept.append(i)
    assert same(made.nms(limit), made.select(sorted(kept)))
    assert len(made.nms(1.0)) == len(made)


@given(organoids(), st.sampled_from(["score", "small", "large"]))
def test_render_gives_each_pixel_to_the_right_organoid(made, rule):
    key = {"score": -made.scores, "small": made.areas, "large": -made.areas}[rule]
    labels, dense = made.render(rule), made.to_dense()
    assert labels.dtype == np.uint32
    for (y, x), value in np.ndenumerate(labels):
        over = np.flatnonzero(dense[:, y, x])
        best = min(over, key=lambda i: (key[i], made.ids[i]), default=None)
        assert value == (0 if best is None else made.ids[best])


@given(two())
def test_union_keeps_all_masks_and_renumbers_collisions(pair):
    a, b = pair
    both = a.union(b)
    assert np.array_equal(both.to_dense(), np.concatenate([a.to_dense(), b.to_dense()]))
    assert both.ids[: len(a)].tolist() == a.ids.tolist()
    free = ~np.isin(b.ids, a.ids)
    assert both.ids[len(a) :][free].tolist() == b.ids[free].tolist()
    assert same(both.select(slice(len(a))), a)


@given(organoids())
def test_selection_iteration_and_pickle(made):
    assert same(made.select(np.ones(len(made), np.bool_)), made)
    assert same(made.select([]), made.select(slice(0)))
    reverse = np.arange(len(made))[::-1]
    assert same(made.select(reverse).select(reverse), made)
    assert [mask.area for mask in made] == made.areas.tolist()
    assert same(pickle.loads(pickle.dumps(made)), made)  # noqa: S301 (DataLoader workers do so)


def test_defaults_and_boxes():
    made = Instances.from_masks((9, 9), [Mask(1, 2, np.ones((3, 4), np.bool_))])
    assert made.boxes.tolist() == [[1, 2, 4, 6]]
    assert (made.scores.dtype, made.classes.dtype, made.ids.dtype, made.boxes.dtype) == (
        np.float32, np.int32, np.int64, np.int32,
    )  # fmt: skip
    assert (made.ids.tolist(), made.classes.tolist(), made.sources) == ([1], [1], ("",))
    with pytest.raises(ValueError, match="read-only"):
        made.scores[0] = 2


def test_empty_set_answers_everything():
    none = Instances.empty((5, 6))
    assert none.iou(none).shape == (0, 0)
    assert none.boxes.shape == (0, 4)
    assert none.to_dense().shape == (0, 5, 6)
    assert not none.render().any()
    assert (
        len(none.nms(0.5).crop(0, 0, 3, 3).rot90().scale((2, 2)).union(Instances.empty((2, 2))))
        == 0
    )


ONE = Mask(0, 0, np.ones((2, 2), np.bool_))


@pytest.mark.parametrize(
    "fields",
    [
        {"ids": [1, 1]},
        {"ids": [0, 1]},
        {"ids": [1.5, 2]},
        {"ids": ["a", "b"]},
        {"ids": [1]},
        {"scores": [np.nan, 1]},
        {"scores": [1.0]},
        {"classes": [2**40, 1]},
        {"sources": ["a"]},
    ],
)
def test_fields_that_do_not_hold_are_refused(fields):
    with pytest.raises(DataError):
        Instances.from_masks((4, 4), [ONE, ONE], **fields)


def test_masks_outside_the_image_and_images_of_other_sizes_are_refused():
    with pytest.raises(DataError, match="outside"):
        Instances.from_masks((4, 4), [Mask(3, 0, ONE.bits)])
    with pytest.raises(DataError, match="outside"):
        Instances.from_masks((4, 4), [Mask(-1, 0, ONE.bits)])
    with pytest.raises(DataError, match="compare"):
        Instances.empty((4, 4)).iou(Instances.empty((4, 5)))
    with pytest.raises(DataError, match="rule"):
        Instances.empty((4, 4)).render("random")
    with pytest.raises(DataError, match="Renumber"):
        Instances.from_masks((4, 4), [ONE], ids=[2**40]).render()
