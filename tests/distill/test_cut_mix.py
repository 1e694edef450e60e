"""Rectangles between crops: known answers, properties, and a second implementation pixel by pixel."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from organoseg.core import Instances, Mask
from organoseg.distill.cut_mix import (
    SLIVER,
    Box,
    boxes_of_step,
    canvas_of,
    draw_boxes,
    mix_pixels,
    mix_targets,
)
from organoseg.models.protocol import Target

SIDE = 24


def target(*squares: tuple[int, int, int], stride: int = 1, **more: Any) -> Target:
    shape = (SIDE // stride, SIDE // stride)
    masks = [Mask(y, x, np.ones((side, side), bool)) for y, x, side in squares]
    n = len(masks)
    found = Instances.from_masks(shape, masks, scores=np.linspace(0.5, 1, n))
    weights = np.linspace(0.2, 1, n).astype(np.float32)
    ignored = more.pop("ignored", np.zeros(n, bool))
    return Target(found, weights, weights / 2, np.asarray(ignored), stride=stride, pseudo=True)


@st.composite
def batch(draw: st.DrawFn) -> tuple[list[Target], list[tuple[Box, ...]]]:
    square = st.tuples(st.integers(0, 14), st.integers(0, 14), st.integers(1, 10))
    targets = [
        target(*squares, ignored=[draw(st.booleans()) for _ in squares])
        for squares in draw(st.lists(st.lists(square, max_size=4), min_size=2, max_size=4))
    ]
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return targets, [draw_boxes(rng, (SIDE, SIDE)) for _ in targets]


def naive(targets: list[Target], boxes: list[tuple[Box, ...]]) -> list[list[tuple[Any, ...]]]:
    """For each crop: the set of pixels, score, weight, confidence and whether it is ignored, pixel by pixel."""
    out = []
    for k in range(len(targets)):
        seen = []
        for source, wanted in ((k, False), ((k - 1) % len(targets), True)):
            t = targets[source]
            for i, dense in enumerate(t.instances.to_dense()):
                left = set()
                for y in range(SIDE):
                    for x in range(SIDE):
                        in_box = any(
                            b.top <= y < b.bottom and b.left <= x < b.right for b in boxes[k]
                        )
                        if dense[y, x] and in_box == wanted:
                            left.add((y, x))
                if not left:
                    continue
                sliver = len(left) / dense.sum() < SLIVER
                numbers = (t.instances.scores[i], t.weights[i], t.confidence[i])
                seen.append((left, *map(float, numbers), bool(t.ignored[i]) or sliver))
        out.append(seen)
    return out


@given(batch())
@settings(max_examples=25, deadline=None)
def test_targets_are_those_of_the_naive_way(made: Any) -> None:
    targets, boxes = made
    mixed = mix_targets(targets, boxes)
    for ours, theirs in zip(mixed, naive(targets, boxes), strict=True):
        assert len(ours.instances) == len(theirs)
        dense = ours.instances.to_dense()
        for i, (pixels, *numbers, ignored) in enumerate(theirs):
            assert {tuple(p) for p in np.argwhere(dense[i]).tolist()} == pixels
            mine = (ours.instances.scores[i], ours.weights[i], ours.confidence[i])
            assert [float(v) for v in mine] == numbers
            assert bool(ours.ignored[i]) == ignored
        assert ours.pseudo


@given(batch())
@settings(max_examples=25, deadline=None)
def test_pixels_come_from_where_their_organoids_come_from(made: Any) -> None:
    targets, boxes = made
    pixels = torch.arange(len(targets), dtype=torch.float32)[:, None, None, None]
    pixels = pixels.expand(-1, 1, SIDE, SIDE).contiguous()
    mixed = mix_pixels(pixels, boxes)
    for k, some in enumerate(boxes):
        inside = canvas_of(some, (SIDE, SIDE))
        expected = np.where(inside, (k - 1) % len(targets), k)
        assert (mixed[k, 0].numpy() == expected).all()
    assert torch.equal(pixels[:, 0, 0, 0], torch.arange(len(targets)).float())  # not in place


def test_an_organoid_is_cut_at_the_edge_and_a_sliver_of_it_is_ignored() -> None:
    own = target((0, 0, 10), (0, 12, 10))
    box = (Box(0, 0, SIDE, 8), Box(0, 12, SIDE, 16))
    mixed, _ = mix_targets([own, target((4, 4, 10))], [box, ()])
    # 10 px wide from column 0: two are left, 20 %: taught; from 12: six left. The partner's: 4 to 8 and 12 to 14.
    assert mixed.instances.areas.tolist() == [20, 60, 60]
    assert mixed.ignored.tolist() == [False, False, False]
    thin, _ = mix_targets([own, target()], [(Box(0, 0, SIDE, 8), Box(8, 8, 12, 12)), ()])
    assert thin.instances.areas.tolist() == [16, 100]  # 16 % of it
    assert thin.ignored.tolist() == [True, False]


def test_organoids_that_overlap_stay_whole_where_no_edge_cuts_them() -> None:
    own, partner = target((2, 0, 8), (2, 3, 8)), target((3, 12, 8), (3, 14, 8))
    mixed, other = mix_targets([own, partner], [(Box(0, 12, SIDE, SIDE),), ()])
    assert mixed.instances.areas.tolist() == [64] * 4
    assert sorted(mixed.instances.ids.tolist()) == [1, 2, 3, 4]
    assert other.instances.areas.tolist() == [64, 64]


def test_coarse_masks_are_cut_on_their_own_grid() -> None:
    own, partner = target((0, 0, 6), stride=4), target((2, 2, 4), stride=4)
    (mixed, _) = mix_targets([own, partner], [(Box(0, 0, 12, 12),), ()])
    assert mixed.stride == 4
    assert mixed.instances.areas.tolist() == [27, 1]
    assert mixed.ignored.tolist() == [False, True]


def test_boxes_are_inside_on_the_grid_and_take_the_published_share() -> None:
    rng, shares, heights = np.random.default_rng(0), [], []
    for _ in range(400):
        boxes = draw_boxes(rng, (64, 96))
        assert len(boxes) == 3
        for b in boxes:
            assert 0 <= b.top < b.bottom <= 64
            assert 0 <= b.left < b.right <= 96
            assert {v % 4 for v in (b.top, b.left, b.bottom, b.right)} == {0}
            heights.append(b.bottom - b.top)
        shares.append(sum((b.bottom - b.top) * (b.right - b.left) for b in boxes) / (64 * 96))
    assert np.mean(shares) == pytest.approx(0.375, abs=0.01)
    assert len(set(heights)) > 5


def test_the_boxes_of_a_step_are_a_function_of_seed_step_and_process() -> None:
    shape = (64, 64)
    assert boxes_of_step(1, 5, 0, shape, 3) == boxes_of_step(1, 5, 0, shape, 3)
    others = [(2, 5, 0), (1, 6, 0), (1, 5, 1)]
    assert all(boxes_of_step(1, 5, 0, shape, 3) != boxes_of_step(*o, shape, 3) for o in others)
    assert boxes_of_step(1, 5, 0, shape, 1) == [()]  # nobody to mix with


def test_targets_of_two_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="two kinds"):
        mix_targets([target(), target(stride=4)], [(Box(0, 0, 4, 4),), ()])


def test_by_chance_some_crops_stay_as_they_are() -> None:
    some = [bool(b) for k in range(200) for b in boxes_of_step(0, k, 0, (32, 32), 2, 0.25)]
    assert np.mean(some) == pytest.approx(0.25, abs=0.06)
    assert boxes_of_step(0, 0, 0, (32, 32), 2, 0.0) == [(), ()]
