"""What a user reads from `evaluate`, on scenes small enough to count by hand."""

import json
import math
import warnings

import numpy as np
import pytest

from organoseg.core import DataError, Instances, Mask
from organoseg.evaluation import ap_difference, evaluate
from organoseg.evaluation.bootstrap import interval, resamplings

SHAPE = (60, 60)


def box(y: int, x: int, h: int = 10, w: int = 10) -> Mask:
    mask = Mask.from_bits(np.ones((h, w), bool), y, x)
    assert mask is not None
    return mask


def instances(*masks: Mask, scores: list[float] | None = None, label: int = 1) -> Instances:
    return Instances.from_masks(SHAPE, masks, scores=scores, classes=[label] * len(masks))


# Two that share 3 of 10 columns, one free, one free in a second image.
TRUTH = {
    "a.png": instances(box(0, 0), box(0, 7), box(30, 30)),
    "b.png": instances(box(20, 20)),
}
FOUND = {
    "a.png": instances(box(0, 0), box(30, 30), box(48, 48), scores=[0.9, 0.8, 0.3]),
    "b.png": instances(box(20, 20), box(20, 21), scores=[0.7, 0.6]),
}


def test_counts_by_hand() -> None:
    result = evaluate(FOUND, TRUTH, bootstrap=0, score_threshold=0.5)
    best, given = result.best, result.given
    assert given is not None
    # Best F1: the three right ones of score .7 and up; four are labelled.
    assert best.threshold == pytest.approx(0.7)
    assert (best.matched, best.predicted) == (3, 3)
    assert best.precision == 1
    assert best.recall == pytest.approx(3 / 4)
    assert best.f1 == pytest.approx(6 / 7)
    assert best.msa == pytest.approx((2 / 3 + 1) / 2)
    assert (best.count_error, best.count_bias) == (0.5, -0.5)
    # At .5 the doubled organoid of b.png is one too many.
    assert given.threshold == 0.5
    assert (given.matched, given.predicted) == (3, 4)
    assert (given.count_error, given.count_bias) == (1.0, 0.0)
    assert (result.images, result.organoids, result.overlapping) == (2, 4, 2)
    assert result.predictions == 5
    assert result.recall_isolated == 1
    assert result.recall_overlapping == 0.5


def test_a_score_at_the_threshold_passes() -> None:
    truth = {"a.png": instances(box(0, 0))}
    found = {"a.png": instances(box(0, 0), scores=[0.9])}
    given = evaluate(found, truth, bootstrap=0, score_threshold=0.9).given
    assert given is not None
    assert given.predicted == 1


def test_perfect_predictions_have_perfect_figures_and_narrow_intervals() -> None:
    result = evaluate(TRUTH, TRUTH, bootstrap=50)
    figures = result.to_dict()
    for name in ("AP", "AP50", "AP75", "F1", "mSA", "recall_isolated", "recall_overlapping"):
        assert figures[name] == pytest.approx(1), name
    assert figures["count_error"] == 0
    assert figures["intervals"]["AP"] == pytest.approx([1, 1])


def test_matching_takes_overlapping_organoids_one_to_one() -> None:
    truth = {"a.png": instances(box(0, 0), box(0, 2))}
    found = {"a.png": instances(box(0, 1), scores=[0.9])}
    result = evaluate(found, truth, bootstrap=0)
    assert result.best.matched == 1
    assert result.recall_overlapping == 0.5


def test_msa_matches_as_many_as_possible_where_greedy_would_not() -> None:
    # The surer prediction lies on the first organoid, but fits the second one as well; the less
    # sure one fits the first alone.
    truth = {"a.png": instances(box(0, 4, 10, 20), box(0, 7, 10, 20))}
    found = {"a.png": instances(box(0, 5, 10, 20), box(0, 0, 10, 20), scores=[0.9, 0.8])}
    point = evaluate(found, truth, bootstrap=0, score_threshold=0.5).given
    assert point is not None
    assert point.matched == 1
    # IoU of the less sure one with the first: 16 / 24; of the sure one with the second: 18 / 22.
    # Both match up to .65, the second alone up to .8, and at .85 and .9 the sure one on the first.
    assert point.msa == pytest.approx((4 * 1 + 5 * (1 / 3) + 0) / 10)


@pytest.mark.parametrize("first_id", [0, -2])
def test_an_id_of_zero_is_read_as_pycocotools_does_and_mended_beside(first_id: int) -> None:
    # The ids of a file that numbers its four organoids in another order than the images': the
    # one of id 0 is the single organoid of b.png.
    ids = (
        {"a.png": [2, 3, 4], "b.png": [1]} if first_id == 0 else {"a.png": [1, 2, 4], "b.png": [3]}
    )
    truth = {n: one.replace(ids=np.array(ids[n])) for n, one in TRUTH.items()}
    with pytest.warns(UserWarning, match="annotation with id 0"):
        result = evaluate(truth, truth, bootstrap=10, first_id=first_id)
    assert result.ids_from_1 is not None
    assert result.ids_from_1.ap == pytest.approx(1)
    # Three of four are matched, and the fourth prediction is charged as wrong.
    assert result.coco.ar == pytest.approx(3 / 4)
    assert result.ap < 0.8
    figures = result.to_dict()
    assert figures["AP"] < 0.8
    for name in ("AP_ids_from_1", "AP50_ids_from_1", "AP75_ids_from_1"):
        assert figures[name] == pytest.approx(1)
    assert figures["intervals"]["AP"] == pytest.approx([1, 1])
    assert "ids from 1" in result.table()


def test_without_an_id_of_zero_there_is_nothing_to_mend() -> None:
    for first_id in (1, -7):
        result = evaluate(TRUTH, TRUTH, bootstrap=0, first_id=first_id)
        assert result.ap == pytest.approx(1)
        assert result.ids_from_1 is None
        assert "AP_ids_from_1" not in result.to_dict()


def test_result_is_json_and_a_table() -> None:
    nothing = {name: Instances.empty(SHAPE) for name in TRUTH}
    for found, truth in ((FOUND, TRUTH), (nothing, TRUTH), (nothing, nothing)):
        result = evaluate(found, truth, bootstrap=10)
        json.dumps(result.to_dict(), allow_nan=False)
        assert "AP50" in result.table()
        assert "nan" not in result.table()
    assert result.to_dict()["AP"] is None
    assert "95 %" not in evaluate(FOUND, TRUTH, bootstrap=0).table()


def test_images_without_predictions_count_as_empty_and_are_named() -> None:
    with pytest.warns(UserWarning, match=r"1 of 2 .*b\.png"):
        result = evaluate({"a.png": TRUTH["a.png"]}, TRUTH, bootstrap=0)
    assert result.best.recall == pytest.approx(3 / 4)


def test_an_unknown_image_or_an_empty_ground_truth_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 images .*c\.png"):
        evaluate({**FOUND, "c.png": FOUND["a.png"]}, TRUTH)
    with pytest.raises(DataError, match="no labelled image"):
        evaluate({}, {})


def test_another_class_is_a_miss_and_warned_of() -> None:
    found = {name: one.replace(classes=one.classes + 4) for name, one in TRUTH.items()}
    with pytest.warns(UserWarning, match=r"4 predictions have a class.*\[5\].*\[1\]"):
        result = evaluate(found, TRUTH, bootstrap=0)
    assert result.ap == 0
    assert result.best.matched == 0


def test_intervals_are_seeded_and_hold_the_figure() -> None:
    rng = np.random.default_rng(1)
    truth, found = {}, {}
    for index in range(20):
        corners = [(int(y), int(x)) for y, x in rng.integers(0, 50, (6, 2))]
        truth[f"{index}"] = instances(*[box(y, x) for y, x in corners])
        moved = [box(min(50, y + int(rng.integers(0, 4))), x) for y, x in corners]
        found[f"{index}"] = instances(*moved, scores=rng.random(6).tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = evaluate(found, truth, bootstrap=200, seed=3)
    again = evaluate(found, truth, bootstrap=200, seed=3)
    other = evaluate(found, truth, bootstrap=200, seed=4)
    assert first.intervals == again.intervals
    assert first.intervals != other.intervals
    figures = first.to_dict()
    for name, (low, high) in figures["intervals"].items():
        assert low <= figures[name] <= high, name
    low, high = figures["intervals"]["AP"]
    assert high - low > 0.01


def test_resamplings_draw_each_image_equally_often() -> None:
    weights = resamplings(10, 4000, 0)
    assert (weights.sum(axis=1) == 10).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.1)
    # The middle 95 % of a known spread.
    found = interval(np.arange(1001, dtype=np.float64))
    assert (found.low, found.high) == pytest.approx((25, 975))
    assert math.isnan(interval(np.array([np.nan])).low)


def test_difference_is_paired() -> None:
    worse = {name: one.select(slice(0, 1)) for name, one in TRUTH.items()}
    gain, spread = ap_difference(worse, TRUTH, TRUTH, bootstrap=100)
    assert gain == pytest.approx(1 - evaluate(worse, TRUTH, bootstrap=0).ap)
    assert 0 <= spread.low <= gain <= spread.high
    same, none = ap_difference(worse, worse, TRUTH, bootstrap=100)
    assert (same, none.low, none.high) == (0, 0, 0)
