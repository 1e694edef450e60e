"""What the demo says of itself, in the cases that a run may end in."""

from dataclasses import replace

import numpy as np
import pytest

from organoseg.core import Instances, Mask
from organoseg.demo.log import RunLog
from organoseg.demo.plan import DemoPlan
from organoseg.demo.remarks import remarks
from organoseg.demo.teachers import Teacher
from organoseg.demo.work import Outcome
from organoseg.evaluation import evaluate

LOG = RunLog(curve=(), switched=None, pseudo={}, notes=("step 5: the teacher stays",))
FIRST = Teacher("burn_in", 0.6, 0.81, 0.72, float("nan"))


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    mask = Mask.from_bits(np.ones((9, 9), bool), 3, 3)
    truth = {"a": Instances.from_masks((30, 30), [mask])}
    return Outcome(truth, evaluate(truth, truth, bootstrap=0), 1.0, LOG, (FIRST,))


def test_a_win_needs_no_excuse(outcome: Outcome) -> None:
    guided = replace(outcome, log=replace(LOG, switched=300))
    text = " ".join(remarks(DemoPlan(), outcome, guided, 0.05))
    assert "did not win" not in text
    assert "By step 300" in text


@pytest.mark.parametrize("gain", [-0.03, 0.0, float("nan")])
def test_a_loss_is_said_with_where_and_why(outcome: Outcome, gain: float) -> None:
    best = replace(outcome.evaluation.best, precision=0.7)
    guided = replace(outcome, evaluation=replace(outcome.evaluation, best=best))
    text = " ".join(remarks(DemoPlan(), outcome, guided, gain))
    assert "did not win: of its outlines fewer are right (-0.300)" in text
    assert "of what the first teacher proposed 81 % was right, and it found 72 %" in text
    assert "first teacher stayed" in text


def test_nothing_learnt_is_no_one_s_win(outcome: Outcome) -> None:
    blind = Teacher("mutual", 0.0, float("nan"), 0.0, 0.0)
    text = " ".join(remarks(DemoPlan(), outcome, replace(outcome, teachers=(blind,)), 0.0))
    assert "came out alike" in text
    assert "the second teacher proposed nothing" in text


def test_a_loss_in_exactness_alone_is_called_so(outcome: Outcome) -> None:
    text = " ".join(remarks(DemoPlan(), outcome, replace(outcome, teachers=()), -0.1))
    assert "less exact" in text
    assert "proposed" not in text
