"""Large images: windows cover them, and what two windows see is one organoid."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoseg.core import Instances, UsageError
from organoseg.models.stitch import stitch
from organoseg.models.tiles import STRIDE, Window, windows


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 5000), st.sampled_from([(768, 256), (1536, 256), (128, 40), (100, 20)]))
def test_windows_cover_the_image_and_overlap_enough(length: int, how: tuple[int, int]) -> None:
    side, overlap = how
    found = windows((length, 40), side, overlap)
    spans = [(w.y, w.y + w.height) for w in found]
    assert (spans[0][0], max(end for _, end in spans)) == (0, length)
    assert all(w.height <= side and w.y % STRIDE == 0 for w in found)
    assert all(a[1] - b[0] >= overlap and b[0] > a[0] for a, b in pairwise(spans))
    assert (len(found) == 1) == (length <= side)


@pytest.mark.parametrize(("side", "overlap"), [(100, 100), (100, 90), (64, -1)])
def test_windows_that_make_no_way_are_refused(side: int, overlap: int) -> None:
    with pytest.raises(UsageError, match="cannot overlap"):
        windows((500, 500), side, overlap)


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def seen_in(whole: Instances, window: Window) -> Instances:
    """What a perfect network sees of the organoids in a window."""
    return whole.crop(window.y, window.x, window.height, window.width)


@st.composite
def organoids(draw: st.DrawFn) -> Instances:
    shape = (draw(st.integers(60, 400)), draw(st.integers(60, 400)))
    discs = draw(
        st.lists(
            st.tuples(
                st.floats(0, shape[0]), st.floats(0, shape[1]), st.floats(4, 150), st.floats(0.1, 1)
            ),
            max_size=12,
        )
    )
    dense = [disc(shape, y, x, r) for y, x, r, _ in discs]
    kept = [n for n, mask in enumerate(dense) if mask.sum() > 12]
    stack = np.array([dense[n] for n in kept], bool).reshape(len(kept), *shape)
    scores = np.array([discs[n][3] for n in kept], np.float32)
    # Two masks that are nearly one are one organoid for every engine.
    return Instances.from_dense(stack, scores=scores).nms(0.5)


@settings(max_examples=60, deadline=None)
@given(organoids(), st.sampled_from([(96, 32), (128, 64), (192, 64)]))
def test_organoids_of_any_size_come_out_once_and_whole(
    whole: Instances, how: tuple[int, int]
) -> None:
    parts = windows(whole.shape, *how)
    found = stitch(whole.shape, parts, [seen_in(whole, part) for part in parts])
    near = whole.iou(found)
    small = np.array([max(m.bits.shape) <= how[1] for m in whole.masks], bool)
    # Pieces of organoids that no window sees whole, crossed by others, may be taken for another one's.
    assert len(found) == len(whole) or not small.all()
    assert (near[small].max(axis=1, initial=0) == 1).all()
    twins = found.iou(found)
    np.fill_diagonal(twins, 0)
    assert not (twins > 0.9).any()


def test_an_organoid_larger_than_every_window_is_put_together() -> None:
    shape = (500, 500)
    whole = Instances.from_dense(disc(shape, 250, 250, 200)[None], scores=[0.8])
    parts = windows(shape, 192, 64)
    found = stitch(shape, parts, [seen_in(whole, part) for part in parts])
    assert whole.iou(found).tolist() == [[1.0]]
    assert found.scores.tolist() == pytest.approx([0.8])


def test_a_piece_of_a_large_organoid_is_not_taken_for_a_smaller_one_over_it() -> None:
    dense = np.zeros((2, 353, 60), bool)
    dense[0, :153] = True
    dense[1, :280] = True
    whole = Instances.from_dense(dense)
    parts = windows(whole.shape, 192, 64)
    found = stitch(whole.shape, parts, [seen_in(whole, part) for part in parts])
    assert len(found) == 2
    assert np.sort(whole.iou(found).max(axis=1)).tolist() == [1.0, 1.0]


def test_organoids_over_each_other_stay_two_also_where_windows_meet() -> None:
    shape = (100, 200)
    whole = Instances.from_dense(np.stack([disc(shape, 50, 92, 14), disc(shape, 50, 104, 14)]))
    parts = windows(shape, 128, 40)
    found = stitch(shape, parts, [seen_in(whole, part) for part in parts])
    assert np.sort(whole.iou(found).max(axis=1)).tolist() == [1.0, 1.0]
    assert len(found) == 2


def test_a_sliver_at_a_cut_is_no_organoid_of_its_own() -> None:
    shape = (100, 200)
    whole = Instances.from_dense(disc(shape, 50, 150, 20)[None])
    parts = windows(shape, 128, 64)
    seen = [seen_in(whole, part) for part in parts]
    # The window that sees only the edge draws it wrongly.
    wrong = np.zeros((1, parts[0].height, parts[0].width), bool)
    wrong[0, 20:90, -3:] = True
    seen[0] = Instances.from_dense(wrong, scores=[0.9])
    found = stitch(shape, parts, seen)
    assert whole.iou(found).tolist() == [[1.0]]
