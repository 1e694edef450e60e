"""What two teachers agree on: known answers, properties, and a second implementation pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoseg.core import Instances, Mask
from organoseg.distill.agreement import ALONE, SAME, AgreementFilter, opinions, paired
from organoseg.distill.pseudo_labels import OrganoidFilter, PaperFilter

SHAPE = (32, 40)
FILTER = AgreementFilter(OrganoidFilter(smallest_area=1))


def squares(
    *places: tuple[int, int, int, float], classes: tuple[int, ...] | None = None
) -> Instances:
    masks = [Mask(y, x, np.ones((side, side), bool)) for y, x, side, _ in places]
    return Instances.from_masks(SHAPE, masks, scores=[s for *_, s in places], classes=classes)


@st.composite
def seen(draw: st.DrawFn) -> Instances:
    """A few rectangles, crowded enough to meet, some of them the same in two draws."""
    count = draw(st.integers(0, 6))
    masks = []
    for _ in range(count):
        y, x = draw(st.integers(0, 3)) * 2, draw(st.integers(0, 3)) * 2
        bits = np.ones((draw(st.integers(6, 9)), draw(st.integers(6, 9))), bool)
        masks.append(Mask(y, x, bits))
    score = st.floats(0.125, 1, width=32)
    return Instances.from_masks(
        SHAPE, masks, [draw(score) for _ in masks], [draw(st.integers(1, 2)) for _ in masks]
    )


def naive_pairs(first: Instances, second: Instances, iou: float) -> set[tuple[int, int]]:
    """The best pair, pixel by pixel, again and again."""
    a, b = first.to_dense(), second.to_dense()
    left_a, left_b, found = set(range(len(a))), set(range(len(b))), set()
    while True:
        best = None
        for i in sorted(left_a):
            for j in sorted(left_b):
                if first.classes[i] != second.classes[j]:
                    continue
                value = (a[i] & b[j]).sum() / (a[i] | b[j]).sum()
                if value >= iou and (best is None or value > best[0]):
                    best = (value, i, j)
        if best is None:
            return found
        found.add(best[1:])
        left_a.discard(best[1])
        left_b.discard(best[2])


@given(seen(), seen(), st.sampled_from([0.5, 0.7]))
@settings(max_examples=60, deadline=None)
def test_pairs_are_those_of_the_naive_way_and_the_same_from_both_sides(
    first: Instances, second: Instances, iou: float
) -> None:
    pairs = paired(first, second, iou)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert found == naive_pairs(first, second, iou)
    back = paired(second, first, iou)
    assert {(j, i) for i, j in zip(back.first.tolist(), back.second.tolist(), strict=True)} == found
    assert (pairs.iou >= iou).all()


@given(seen())
@settings(max_examples=30, deadline=None)
def test_who_asks_itself_keeps_all_it_says(mine: Instances) -> None:
    alone = FILTER.agreed(mine)
    target = FILTER(opinions(mine, mine))
    assert target.instances.ids.tolist() == alone.instances.ids.tolist()
    assert target.confidence.tolist() == alone.confidence.tolist()
    assert target.ignored.tolist() == alone.ignored.tolist()
    weighed = opinions(mine, mine, "weight")
    assert weighed.scores.tolist() == pytest.approx(mine.scores.tolist())


@given(seen(), seen())
@settings(max_examples=40, deadline=None)
def test_nobody_is_lost_and_the_agreed_are_the_same_whoever_asks(
    first: Instances, second: Instances
) -> None:
    pairs = paired(first, second)
    said, back = opinions(first, second), opinions(second, first)
    assert len(said) == len(first) + len(second) - len(pairs.first) == len(back)
    agreed = [s for s, source in zip(said.scores, said.sources, strict=True) if source != ALONE]
    turned = [s for s, source in zip(back.scores, back.sources, strict=True) if source != ALONE]
    assert sorted(agreed) == pytest.approx(sorted(turned))
    assert len(agreed) == len(pairs.first)


def test_what_both_see_teaches_with_the_certainty_of_both_and_the_rest_is_ignored() -> None:
    mine = squares((0, 0, 10, 0.9), (0, 20, 10, 0.8))
    other = squares((0, 1, 10, 0.5), (16, 0, 10, 0.7))
    target = FILTER(opinions(mine, other))
    assert target.instances.boxes.tolist() == [[0, 0, 10, 10], [0, 20, 10, 30], [16, 0, 26, 10]]
    assert target.ignored.tolist() == [False, True, True]
    assert target.confidence.tolist() == pytest.approx([0.7**2, 0, 0])
    assert target.weights.tolist() == pytest.approx([0.7**2, 0, 0])
    assert target.pseudo


def test_two_that_see_nothing_together_teach_nothing() -> None:
    target = FILTER(opinions(squares((0, 0, 10, 0.9)), squares((15, 15, 10, 0.9))))
    assert target.ignored.tolist() == [True, True]
    nothing = FILTER(opinions(squares(), squares()))
    assert len(nothing.instances) == 0


def test_the_limit_is_an_overlap_of_seven_tenths() -> None:
    assert SAME == 0.7
    for side, agreed in ((17, 1), (16, 0)):  # 17 of 20 rows shared: 170 / 230 px; 16: 160 / 240
        shifted = Mask(20 - side, 0, np.ones((20, 10), bool))
        first = Instances.from_masks((40, 10), [Mask(0, 0, np.ones((20, 10), bool))])
        assert len(paired(first, Instances.from_masks((40, 10), [shifted])).first) == agreed


def test_two_phenotypes_at_one_place_are_no_agreement() -> None:
    mine = squares((0, 0, 10, 0.9), classes=(1,))
    target = FILTER(opinions(mine, squares((0, 0, 10, 0.9), classes=(2,))))
    assert target.ignored.all()


def test_by_weight_what_one_sees_alone_counts_half() -> None:
    mine = squares((0, 0, 10, 0.8), (0, 20, 10, 0.6))
    said = opinions(mine, squares((0, 0, 10, 0.4), (16, 0, 10, 0.9)), "weight")
    assert said.scores.tolist() == pytest.approx([0.6, 0.3, 0.45])
    shifted = opinions(mine, squares((0, 2, 10, 0.4)), "weight")  # IoU 80 / 120
    assert shifted.scores.tolist() == pytest.approx([(0.8 + 0.4 * 2 / 3) / 2, 0.3])
    assert ALONE not in said.sources
    assert opinions(mine, said, "off") is mine


def test_a_second_drawing_of_what_both_see_is_not_ignored_ground() -> None:
    """The other teacher drew the organoid twice; one drawing is the pair's, the second must not blot it out."""
    mine, other = squares((0, 0, 10, 0.9)), squares((0, 0, 10, 0.9), (0, 1, 10, 0.8))
    assert FILTER(opinions(mine, other)).ignored.tolist() == [False]


def test_overlapping_organoids_stay_two_and_whole() -> None:
    mine = squares((0, 0, 12, 0.9), (0, 6, 12, 0.8))
    target = FILTER(opinions(mine, mine))
    assert target.instances.areas.tolist() == [144, 144]
    assert not target.ignored.any()


def test_it_stands_before_any_filter() -> None:
    """The paper's hard filter: what both see above .7 in the mean."""
    target = AgreementFilter(PaperFilter(0.7, 10))(
        opinions(squares((0, 0, 10, 0.9), (15, 0, 10, 0.9)), squares((0, 0, 10, 0.7)))
    )
    assert target.confidence.tolist() == [1, 0]
    assert target.ignored.tolist() == [False, True]
