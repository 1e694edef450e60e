"""The order of review: every beginning stands for the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from organoseg.core import Instances, Mask
from organoseg.review.coverage import MOST, content_look, covering_order, grey_look


def clusters(sizes: tuple[int, ...], seed: int = 0) -> tuple[list[list[float]], list[int]]:
    """Looks in well separated groups, mixed, and the group of each."""
    rng = np.random.default_rng(seed)
    centres = rng.permutation(len(sizes))[:, None] * 10.0 + np.zeros(3)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    rng.shuffle(groups)
    looks = centres[groups] + rng.normal(0, 0.3, (len(groups), 3))
    return looks.tolist(), groups.tolist()


@given(st.integers(0, 40), st.integers(1, 4), st.integers(0, 99))
def test_every_image_comes_once_and_always_in_the_same_order(n: int, f: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    looks, counts = rng.normal(size=(n, f)).round(1).tolist(), rng.uniform(0, 1, n)
    order = covering_order(looks, counts)
    assert sorted(order) == list(range(n))
    assert order == covering_order(looks, counts)


@given(st.integers(0, 200))
def test_the_first_ones_come_from_every_kind_of_image(seed: int) -> None:
    looks, groups = clusters((30, 10, 5), seed)
    order = covering_order(looks, np.ones(len(looks)))
    assert {groups[i] for i in order[:6]} == {0, 1, 2}
    assert groups[order[0]] == 0  # the largest kind stands for most


def test_kinds_that_the_model_doubts_come_first() -> None:
    looks, groups = clusters((30, 10, 5))
    doubt = np.where(np.array(groups) == 2, 1.0, 0.01)
    assert groups[covering_order(looks, doubt)[0]] == 2


def test_of_two_that_stand_for_as_much_the_cheaper_comes_first() -> None:
    looks = [[0.0], [0.01], [9.0], [9.01]]
    order = covering_order(looks, np.ones(4), np.array([5.0, 1.0, 1.0, 5.0]))
    assert set(order[:2]) == {1, 2}


def test_twins_wait_until_everything_else_has_come() -> None:
    looks = [[0.0, 0.0]] * 6 + [[float(i), 5.0] for i in range(1, 7)]
    order = covering_order(looks, np.ones(12))
    places = sorted(order.index(i) for i in range(6))
    assert places[1] > 4


def test_each_next_image_adds_most() -> None:
    """Against the plain greedy algorithm, which looks at everything again in each step."""
    rng = np.random.default_rng(4)
    looks, counts = rng.normal(size=(25, 3)), rng.uniform(0.1, 1, 25)
    table = np.clip((looks - looks.mean(0)) / looks.std(0), -3, 3)
    squared = ((table[:, None] - table[None]) ** 2).sum(-1)
    alike = np.exp(-squared / (2 * np.median(squared) / 4))
    plain: list[int] = []
    for _ in range(25):
        left = [i for i in range(25) if i not in plain]
        sums = [float(counts @ alike[:, [*plain, i]].max(1)) for i in left]
        plain.append(left[int(np.argmax(sums))])
    assert covering_order(looks.tolist(), counts) == plain


def test_a_large_archive_is_ordered_as_well() -> None:
    rng = np.random.default_rng(0)
    n = 2 * MOST + 7
    order = covering_order(rng.normal(size=(n, 2)).tolist(), np.ones(n))
    assert sorted(order) == list(range(n))


def test_of_a_large_archive_both_of_two_alternating_channels_are_stood_for() -> None:
    n = 2 * MOST - 1
    looks = [[float(i % 2), 0.0] for i in range(n)]
    order = covering_order(looks, np.ones(n))
    assert {i % 2 for i in order[:2]} == {0, 1}


def test_greys_are_described_whatever_their_scale() -> None:
    rng = np.random.default_rng(0)
    plane = rng.integers(50, 200, (300, 300))
    assert grey_look(plane) == pytest.approx(grey_look(plane * 100), abs=1e-2)
    assert grey_look(plane) != pytest.approx(grey_look(plane // 40 * 40), abs=1e-2)


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (16, 16)])
def test_constant_and_tiny_planes_have_a_look(shape: tuple[int, int]) -> None:
    assert np.isfinite(grey_look(np.full(shape, 7, np.uint8))).all()


def test_an_image_without_organoids_has_a_look() -> None:
    empty = content_look(Instances.empty((64, 64)))
    mask = Mask.from_bits(np.ones((9, 9), bool), 3, 3)
    assert mask is not None
    full = content_look(Instances.from_masks((64, 64), [mask], scores=[0.5]))
    assert len(empty) == len(full)
    assert empty != full
    assert np.isfinite(full).all()
