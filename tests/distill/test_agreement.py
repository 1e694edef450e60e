"""What several views agree on."""

import numpy as np
import pytest

from organoseg.core import Instances, Mask
from organoseg.models.ensemble import agree


def seen(*squares: tuple[int, int, int, float]) -> Instances:
    masks = [Mask(y, x, np.ones((side, side), bool)) for y, x, side, _ in squares]
    return Instances.from_masks((64, 64), masks, scores=[s for *_, s in squares])


def test_one_view_is_taken_at_its_word() -> None:
    view = seen((4, 4, 10, 0.9))
    assert agree([view]) is view


def test_what_all_views_see_keeps_its_score_and_what_one_sees_sinks() -> None:
    first = seen((4, 4, 10, 0.8), (40, 40, 10, 0.9))
    fused = agree([first, seen((4, 4, 10, 0.6)), seen((4, 4, 10, 0.7)), seen((4, 4, 10, 0.7))])
    assert fused.scores.tolist() == pytest.approx([0.7, 0.225])
    assert fused.boxes.tolist() == [[4, 4, 14, 14], [40, 40, 50, 50]]


def test_views_vote_on_the_edge() -> None:
    fused = agree([seen((4, 4, 10, 0.8)), seen((4, 5, 10, 0.8)), seen((4, 6, 10, 0.8))])
    assert fused.boxes.tolist() == [[4, 5, 14, 15]]
    assert 0.5 < float(fused.scores[0]) < 0.8


def test_overlapping_organoids_stay_two() -> None:
    pair = seen((4, 4, 12, 0.9), (4, 10, 12, 0.8))
    fused = agree([pair, pair])
    assert len(fused) == 2
    assert fused.areas.tolist() == [144, 144]


def test_nothing_seen_is_nothing() -> None:
    assert len(agree([seen(), seen()])) == 0
    assert agree([seen(), seen((4, 4, 10, 0.6))]).scores.tolist() == pytest.approx([0.3])
