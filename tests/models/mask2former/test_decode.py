"""From queries to Instances: known masks come back whole, overlapping, sorted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from organoseg.core import Instances
from organoseg.core.soft_mask import SoftMask, dilated
from organoseg.models.mask2former import decode as decoding
from organoseg.models.mask2former.decode import Frame, decode, full_size
from organoseg.models.mask2former.network import Predictions
from organoseg.models.mask2former.options import Mask2FormerOptions
from tests.models.mask2former.small import discs

SHAPE = (96, 128)


def _says(
    truth: Instances, sure: list[list[float]], sharpness: float = 40.0, queries: int = 8
) -> Predictions:
    """A network that draws the organoids with queries 0, 1, ..., and is this sure of their classes."""
    n, kinds = len(truth), len(sure[0])
    probability = torch.full((queries, kinds + 1), 1e-4)
    probability[:n, :kinds] = torch.tensor(sure)
    probability[:, -1] = 1 - probability[:, :-1].sum(1)
    features = torch.full((queries, SHAPE[0] // 4, SHAPE[1] // 4), -0.5)
    for i, bits in enumerate(truth.to_dense()):
        features[i] += torch.nn.functional.avg_pool2d(torch.from_numpy(bits).float()[None], 4)[0]
    return Predictions(
        probability.log()[None, None],
        (torch.eye(queries) * sharpness)[None, None],
        features[None],
    )


def _decoded(predictions: Predictions, threshold: float = 0.05, **options: object) -> Instances:
    chosen = Mask2FormerOptions.model_validate({"queries": 8, "hidden": 32} | options)
    kinds = predictions.classes.shape[-1] - 1
    return decode(predictions, range(1, kinds + 1), Frame(SHAPE, 4.0), chosen, threshold)[0]


def test_overlapping_organoids_come_back_whole_and_sorted() -> None:
    _, truth = discs(5, 1, SHAPE, (14, 20))
    assert truth.overlap_fraction().max() > 0.05
    sure = [[0.3], [0.9], [0.5], [0.7], [0.1]]
    found = _decoded(_says(truth, sure))
    assert found.shape == SHAPE
    assert [round(float(s), 1) for s in found.scores] == [0.9, 0.7, 0.5, 0.3, 0.1]
    overlap = truth.select([1, 3, 2, 0, 4]).iou(found)
    assert (np.diag(overlap) > 0.93).all()


def test_the_score_is_class_probability_times_mean_mask_probability() -> None:
    _, truth = discs(1, 0, SHAPE, (18, 20))
    predictions = _says(truth, [[0.8]], sharpness=2.0)
    found = _decoded(predictions)
    logits = full_size(predictions.masks()[0, :1], Frame(SHAPE, 4.0))[0]
    assert logits.shape == SHAPE
    inner = logits.sigmoid()[logits > 0].mean()
    assert float(found.scores[0]) == pytest.approx(0.8 * float(inner), abs=1e-4)
    assert np.array_equal(found.to_dense()[0], (logits > 0).numpy())


def test_soft_masks_are_the_probabilities_around_each_organoid() -> None:
    _, truth = discs(3, 1, SHAPE, (14, 18))
    predictions = _says(truth, [[0.3], [0.9], [0.6]], sharpness=4.0)
    plain = _decoded(predictions)
    chosen = Mask2FormerOptions.model_validate({"queries": 8, "hidden": 32})
    soft: list[list[SoftMask]] = []
    found = decode(predictions, (1,), Frame(SHAPE, 4.0), chosen, 0.05, soft)[0]
    assert found.scores.tolist() == plain.scores.tolist()
    logits = full_size(predictions.masks()[0, [1, 2, 0]], Frame(SHAPE, 4.0)).sigmoid().numpy()
    for mask, one, whole in zip(found.masks, soft[0], logits, strict=True):
        assert one.box == dilated(mask.box, SHAPE)
        y0, x0, y1, x1 = one.box
        np.testing.assert_allclose(one.values, whole[y0:y1, x0:x1], atol=1e-6)


def test_one_query_may_speak_for_two_classes() -> None:
    _, truth = discs(2, 0, SHAPE, (10, 14))
    found = _decoded(_says(truth, [[0.5, 0.4], [0.1, 0.85]]))
    assert found.classes.tolist() == [2, 1, 2, 1]
    assert found.scores == pytest.approx([0.85, 0.5, 0.4, 0.1], abs=0.02)
    first = found.to_dense()
    assert np.array_equal(first[1], first[2])


def test_only_so_many_are_returned_and_the_best_of_them() -> None:
    _, truth = discs(5, 1, SHAPE, (8, 12))
    found = _decoded(_says(truth, [[0.3], [0.9], [0.5], [0.7], [0.1]]), max_instances=2)
    assert [round(float(s), 1) for s in found.scores] == [0.9, 0.7]


def test_small_masks_and_low_scores_are_left_out() -> None:
    dense = np.zeros((2, *SHAPE), bool)
    dense[0, 20:60, 20:60] = True
    dense[1, 80:84, 80:84] = True
    says = _says(Instances.from_dense(dense), [[0.9], [0.8]])
    assert len(_decoded(says, smallest_area=0)) == 2
    assert len(_decoded(says, smallest_area=40)) == 1
    assert len(_decoded(says, 0.85, smallest_area=0)) == 1
    assert len(_decoded(says, 0.95)) == 0


def test_duplicates_are_removed_only_when_asked_for() -> None:
    _, one = discs(1, 0, SHAPE, (18, 20))
    twice = one.union(one)
    says = _says(twice, [[0.9], [0.8]])
    assert len(_decoded(says)) == 2
    assert [round(float(s), 1) for s in _decoded(says, mask_nms=0.7).scores] == [0.9]


def test_nothing_found_is_no_organoid() -> None:
    found = _decoded(_says(Instances.empty(SHAPE), [[0.0]], queries=8))
    assert len(found) == 0
    assert found.shape == SHAPE


def test_many_masks_in_small_portions_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _, truth = discs(6, 1, SHAPE, (8, 20))
    says = _says(truth, [[0.3], [0.9], [0.5], [0.7], [0.1], [0.6]])
    whole = _decoded(says)
    monkeypatch.setattr(decoding, "PIXELS_AT_ONCE", 1)
    parts = _decoded(says)
    assert whole.to_rles() == parts.to_rles()
    assert np.array_equal(whole.scores, parts.scores)


def test_boxes_gathered_on_a_device_are_the_boxes_cut_on_the_host() -> None:
    # On a GPU the boxes are gathered by index arithmetic; that arithmetic runs anywhere.
    on = torch.rand(4, 30, 40) > 0.5
    box = np.array([[0, 3, 29, 7], [30, 9, 30, 8], [0, 5, 39, 2], [40, 30, 40, 3]])
    good = np.array([0, 2, 3, 1])
    widths = box[3] - box[2]
    sizes = widths * (box[1] - box[0])
    begins = np.concatenate(([0], np.cumsum(sizes)))
    host = decoding._cut_here(on, good, box)
    device = decoding._gathered(on, good, box, widths, sizes, begins)
    assert np.array_equal(host, device)
