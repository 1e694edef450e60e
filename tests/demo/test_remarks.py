"""What the demo says of itself, in the cases that a run may end in."""

from dataclasses import replace

import numpy as np
import pytest

from organoseg.core import Instances, Mask
from organoseg.demo.log import RunLog
from organoseg.demo.plan import DemoPlan
from organoseg.demo.remarks import remarks
from organoseg.evaluation import Evaluation, evaluate

MONITOR = {
    "kept": 1.0,
    "ignored": 0.5,
    "empty": 0.2,
    "score": 0.8,
    "area_shift": 0.1,
    "labelled_density": 4.0,
}
LOG = RunLog(curve=(), switched=None, pseudo=MONITOR, notes=("step 5: the teacher stays",))


@pytest.fixture(scope="module")
def result() -> Evaluation:
    mask = Mask.from_bits(np.ones((9, 9), bool), 3, 3)
    truth = {"a": Instances.from_masks((30, 30), [mask])}
    return evaluate(truth, truth, bootstrap=0)


def test_a_win_needs_no_excuse(result: Evaluation) -> None:
    text = " ".join(remarks(DemoPlan(), result, result, 0.05, replace(LOG, switched=300)))
    assert "did not win" not in text
    assert "step 300" in text


@pytest.mark.parametrize("gain", [-0.03, 0.0, float("nan")])
def test_a_loss_is_said_with_where_and_why(result: Evaluation, gain: float) -> None:
    worse = replace(result, best=replace(result.best, precision=0.7))
    text = " ".join(remarks(DemoPlan(), result, worse, gain, LOG))
    assert "did not win: of its outlines fewer are right (-0.300)" in text
    assert "1.0 outlines a crop, where 4.0 are drawn" in text
    assert "overlooked" in text
    assert "first teacher stayed" in text


@pytest.mark.parametrize(("kept", "word"), [(9.0, "other things"), (4.0, "number is right")])
def test_the_teachers_fault_is_named(result: Evaluation, kept: float, word: str) -> None:
    log = replace(LOG, pseudo={**MONITOR, "kept": kept})
    assert word in " ".join(remarks(DemoPlan(), result, result, -0.1, log))
