from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from organoseg.core import Instances, Mask, UsageError
from organoseg.review import ReviewSession, estimate_accuracy
from organoseg.review.estimate import matches
from organoseg.review.queue import Found, make_queue
from organoseg.review.shapes import cut_along, split_touching
from tests.review.small import make_project, square

SHAPE = (200, 200)


def found(key: str, scores: list[float], shift: int | None = None, size: int = 12) -> Found:
    masks = [square(5, 5 + 20 * i, size) for i in range(len(scores))]
    first = Instances.from_masks(SHAPE, masks, scores=scores)
    if shift is None:
        return Found(key, first)
    moved = [Mask(m.y + shift, m.x, m.bits) for m in masks]
    return Found(key, first, Instances.from_masks(SHAPE, moved))


def test_unsure_differing_and_oddly_sized_organoids_come_first_and_say_why() -> None:
    sure = [0.99, 0.99, 0.98]
    assert [
        t.image
        for t in make_queue([found("a", sure), found("b", [0.3, 0.99, 0.2])], random_share=0)
    ] == ["b", "a"]
    agree, differ = found("a", sure, shift=0), found("b", sure, shift=9)
    queue = make_queue([agree, differ], random_share=0)
    assert [t.image for t in queue] == ["b", "a"]
    assert "two models differ" in queue[0].reasons[1]
    odd = Instances.from_masks(
        SHAPE, [*[square(5, 5 + 20 * i, 12 + i % 2) for i in range(8)], square(60, 60, 90)]
    )
    turn = make_queue([Found("a", odd)], random_share=0)[0]
    assert turn.organoids[0] == 9
    assert "size" in turn.reasons[9]
    turn = make_queue([found("a", [0.9, 0.2, 0.5])], random_share=0)[0]
    assert turn.organoids == (2, 3, 1)


def test_organoids_that_only_the_other_model_saw_bring_an_image_forward() -> None:
    plain = found("a", [0.9, 0.9], shift=0)
    lacking = Found("b", found("b", [0.9]).instances, found("b", [0.9] * 4).instances)
    assert make_queue([plain, lacking], random_share=0)[0].image == "b"


@given(count=st.integers(1, 60), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_every_image_comes_once_and_the_random_ones_are_spread(
    count: int, share: float, seed: int
) -> None:
    items = [found(str(i), [i / 100]) for i in range(count)]
    queue = make_queue(items, random_share=share, seed=seed)
    assert sorted(t.image for t in queue) == sorted(i.key for i in items)
    drawn = [t.random for t in queue]
    assert sum(drawn) == int(np.ceil(share * count))
    for end in range(count + 1):
        if not all(drawn[end:]):  # the last ones may all be random
            assert sum(drawn[:end]) >= int(share * end - 1e-9)
    assert queue == make_queue(items, random_share=share, seed=seed)
    doubtful = make_queue(items, "doubtful", random_share=share, seed=seed)
    assert [t.random for t in doubtful] == drawn
    worst = [t.priority for t in doubtful if not t.random]
    assert worst == sorted(worst, reverse=True)


def test_the_random_images_do_not_depend_on_what_was_found() -> None:
    """Else they would be no fair sample."""
    good = [found(str(i), [0.99]) for i in range(20)]
    bad = [found(str(i), [0.01 * i]) for i in range(20)]
    drawn = [[t.image for t in make_queue(items, seed=3) if t.random] for items in (good, bad)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 4


def test_every_image_is_drawn_equally_often() -> None:
    items = [found(str(i), [0.9 if i else 0.01]) for i in range(5)]
    first = [next(t.image for t in make_queue(items, seed=s) if t.random) for s in range(400)]
    counts = [first.count(str(i)) for i in range(5)]
    assert min(counts) > 50
    assert max(counts) < 115


def test_unknown_orders_and_shares_are_refused() -> None:
    with pytest.raises(UsageError, match="no order"):
        make_queue([], order="best")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="share"):
        make_queue([], random_share=2)


def test_accuracy_comes_from_complete_random_images_only(tmp_path: Path) -> None:
    project = make_project(tmp_path, 4, random_share=0.5)
    with ReviewSession.open(project) as session:
        assert "Nothing is known yet" in estimate_accuracy(session).words
        for picture in project.pictures:
            session.go(picture.key)
            if picture.random:
                session.reject(project.turn(picture.key).organoids[0])
                session.draw(Mask(50, 50, np.ones((10, 10), bool)))
            session.complete(accept_rest=True)
        estimate = estimate_accuracy(session)
    assert estimate.images == 2
    assert estimate.precision.value == pytest.approx(3 / 4)
    assert estimate.recall.value == pytest.approx(3 / 4)
    assert estimate.untouched.value == pytest.approx(3 / 4)
    assert "2 images" in estimate.words


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    from organoseg.review.estimate import _share

    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        of = rng.integers(5, 40, 30).astype(float)
        share = _share(rng.binomial(of.astype(int), 0.8).astype(float), of, 0)
        covered += share.low <= 0.8 <= share.high
    assert 0.88 <= covered / 200 <= 1


def test_one_organoid_matches_one_at_most() -> None:
    one = Instances.from_masks((64, 64), [square(1, 1)])
    two = Instances.from_masks((64, 64), [square(1, 1), square(1, 2)])
    assert matches(two, one) == matches(one, two) == 1


def test_a_cut_loses_no_pixel_and_needs_to_cross() -> None:
    rows, columns = np.mgrid[:40, :40]
    bits = (rows - 20) ** 2 + (columns - 20) ** 2 < 300
    mask = Mask.from_bits(bits, 7, 9)
    assert mask is not None
    parts = cut_along(mask, [(0, 20), (60, 40)])
    assert len(parts) == 2
    assert sum(p.area for p in parts) == mask.area
    assert cut_along(mask, [(0, 0), (5, 5)]) == [mask]
    with pytest.raises(UsageError, match="two points"):
        cut_along(mask, [(0, 0)])


def test_touching_organoids_are_parted_at_the_neck_and_a_round_one_is_not() -> None:
    rows, columns = np.mgrid[:40, :80]
    left = (rows - 20) ** 2 + (columns - 22) ** 2 < 250
    right = (rows - 20) ** 2 + (columns - 50) ** 2 < 250
    both, one = Mask.from_bits(left | right), Mask.from_bits(left)
    assert both is not None
    assert one is not None
    parts = split_touching(both)
    assert sorted(round(p.area / one.area, 1) for p in parts) == [1.0, 1.0]
    assert split_touching(one) == [one]
