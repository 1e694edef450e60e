"""The monitor counts pseudo-labels by their certainty and says when a run teaches itself nonsense."""

import numpy as np
import pytest

from organoseg.core import Instances, Mask
from organoseg.distill.monitor import Monitor, area_shift
from organoseg.models.protocol import Target


def target(count: int, confidence: float, ignored: int = 0) -> Target:
    masks = [Mask(2 * i, 0, np.ones((2, 2), bool)) for i in range(count)]
    instances = Instances.from_masks((200, 8), masks, scores=[confidence] * count)
    certain = np.full(count, confidence, np.float32)
    return Target(instances, certain, certain, np.arange(count) < ignored)


def test_many_doubtful_pseudo_labels_are_no_alarm_and_many_sure_ones_are() -> None:
    monitor = Monitor([Target.labelled(target(5, 1.0).instances)])
    monitor.see([target(30, 0.3)])
    facts = monitor.report()
    assert facts["kept"] == 30
    assert facts["certain"] == pytest.approx(9)
    assert monitor.warning(facts) is None
    monitor.see([target(30, 1.0)])
    assert "debris" in str(monitor.warning(monitor.report()))


def test_a_teacher_that_finds_nothing_is_told() -> None:
    monitor = Monitor([Target.labelled(target(5, 1.0).instances)])
    monitor.see([target(0, 1.0), target(1, 0.2, ignored=1)])
    facts = monitor.report()
    assert (facts["kept"], facts["ignored"], facts["empty"]) == (0, 0.5, 1)
    assert "another kind" in str(monitor.warning(facts))


def test_nothing_seen_is_nothing_to_say() -> None:
    monitor = Monitor([Target.labelled(target(5, 1.0).instances)])
    assert monitor.report() == {}
    assert monitor.warning({}) is None


def test_area_shift_is_zero_for_alike_and_one_for_apart() -> None:
    a = np.array([1.0, 2.0, 3.0])
    assert area_shift(a, a) == 0
    assert area_shift(a, a + 10) == 1
    assert area_shift(a, a[:0]) == 1
