"""Our AP against pycocotools, on drawn scenes, resampled images and the real test set."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from organoseg.core import DataError, Instances, Mask
from organoseg.evaluation import average_precision
from organoseg.evaluation.average_precision import precision_by_threshold, rank
from organoseg.evaluation.bootstrap import resamplings
from organoseg.evaluation.coco import coco_figures
from organoseg.evaluation.matching import match_all
from organoseg.io.coco_json import parse_coco_instances, parse_predictions

SHAPE = (40, 40)


def scene(rng: np.random.Generator, count: int, near: Instances | None = None) -> Instances:
    """Rectangles that overlap; with `near`, shifted copies of its masks and a few of its own."""
    masks = []
    for _ in range(count):
        height, width = rng.integers(3, 16, 2)
        y, x = rng.integers(0, 40 - height), rng.integers(0, 40 - width)
        if near is not None and len(near) and rng.random() < 0.8:
            y, x, bottom, right = near.boxes[rng.integers(len(near))].tolist()
            height, width = bottom - y, right - x
            y, x = max(0, y + rng.integers(-1, 2)), max(0, x + rng.integers(-1, 2))
            height, width = min(height, 40 - y), min(width, 40 - x)
        masks.append(Mask.from_bits(np.ones((height, width), bool), int(y), int(x)))
    # Few distinct scores, so that ties within and between images occur.
    scores = rng.integers(1, 6, count) / 8
    return Instances.from_masks(SHAPE, masks, scores=scores, classes=rng.integers(1, 3, count))


def scenes(seed: int, images: int) -> tuple[dict[str, Instances], dict[str, Instances]]:
    rng = np.random.default_rng(seed)
    truth = {f"{i}.png": scene(rng, int(rng.integers(0, 8))) for i in range(images)}
    found = {name: scene(rng, int(rng.integers(0, 12)), one) for name, one in truth.items()}
    return found, truth


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 5))
def test_equals_pycocotools(seed: int, images: int) -> None:
    found, truth = scenes(seed, images)
    by_threshold = precision_by_threshold(rank(match_all(found, truth)))
    coco = coco_figures(found, truth)
    ours = [by_threshold.mean(), by_threshold[0], by_threshold[5], average_precision(found, truth)]
    np.testing.assert_allclose(ours, [coco.ap, coco.ap50, coco.ap75, coco.ap], atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_weight_is_a_copied_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found, truth = scenes(seed, 4)
    # With equal scores the order of copies would matter: make them distinct.
    found = {name: one.replace(scores=rng.random(len(one))) for name, one in found.items()}
    ranked = rank(match_all(found, truth))
    weights = resamplings(4, 1, seed)[0]
    copied_truth, copied_found = {}, {}
    for name, times in zip(truth, weights.tolist(), strict=True):
        for copy in range(times):
            copied_truth[f"{copy} {name}"] = truth[name]
            copied_found[f"{copy} {name}"] = found[name]
    want = average_precision(copied_found, copied_truth)
    got = precision_by_threshold(ranked, weights).mean()
    np.testing.assert_allclose(got, want, atol=1e-9)


def test_more_organoids_than_cocos_limit_of_100_all_count() -> None:
    boxes = [(y, x) for y in range(0, 60, 4) for x in range(0, 60, 4)]
    masks = [Mask.from_bits(np.ones((3, 3), bool), y, x) for y, x in boxes]
    truth = Instances.from_masks((60, 60), masks)
    figures = coco_figures({"a": truth}, {"a": truth})
    assert figures.max_detections == 225
    assert figures.ap == pytest.approx(1)
    assert average_precision({"a": truth}, {"a": truth}) == pytest.approx(1)


def test_nothing_labelled_has_no_figure_and_nothing_found_is_zero() -> None:
    rng = np.random.default_rng(0)
    some, none = scene(rng, 4), Instances.empty(SHAPE)
    assert np.isnan(average_precision({"a": some}, {"a": none}))
    assert np.isnan(coco_figures({"a": some}, {"a": none}).ap)
    assert average_precision({}, {"a": some}) == 0
    assert coco_figures({}, {"a": some}).ap == 0


def test_images_of_different_size_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"40 x 40.*41 x 40.*w\.png"):
        average_precision({"w.png": Instances.empty(SHAPE)}, {"w.png": Instances.empty((41, 40))})


def plain_pycocotools(truth: dict[str, Any], results: list[Any]) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(results), "segm")
        run.params.maxDets = [1, 10, 300]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][..., 0, 0, -1]
    return [precision.mean(), precision[0].mean(), precision[5].mean()]


def test_organoid_on_the_real_test_set(shared: Path) -> None:
    """OrganoID's row: .468 / .675 / .535 is what plain pycocotools reads from the file.

    The file numbers its annotations from 0, and pycocotools takes a match with id 0 for none: a
    sure prediction counts as wrong. Numbered from 1 the row reads .470 / .684 / .536.
    """
    labels = shared / "data/m_orgaquant/instances_test.json"
    results = shared / "peers/organoid/organoid_test.json"
    raw = json.loads(labels.read_text())
    published = plain_pycocotools(raw, json.loads(results.read_text()))
    np.testing.assert_allclose(published, [0.468, 0.675, 0.535], atol=5e-4)

    for annotation in raw["annotations"]:
        annotation["id"] += 1
    mended = plain_pycocotools(raw, json.loads(results.read_text()))
    parsed = parse_coco_instances(labels)
    truth, found = parsed.instances, parse_predictions(results, labels)
    coco = coco_figures(found, truth, parsed.first_id)
    np.testing.assert_allclose([coco.ap, coco.ap50, coco.ap75], published, atol=1e-6)
    coco = coco_figures(found, truth)
    np.testing.assert_allclose([coco.ap, coco.ap50, coco.ap75], mended, atol=1e-6)
    by_threshold = precision_by_threshold(rank(match_all(found, truth)))
    ours = [by_threshold.mean(), by_threshold[0], by_threshold[5]]
    np.testing.assert_allclose(ours, mended, atol=1e-6)


def test_organoid_on_the_real_validation_set(shared: Path) -> None:
    labels = shared / "data/m_orgaquant/instances_val.json"
    truth = parse_coco_instances(labels).instances
    found = parse_predictions(shared / "peers/organoid/organoid_val.json", labels)
    coco = coco_figures(found, truth)
    np.testing.assert_allclose([coco.ap, coco.ap50, coco.ap75], [0.408, 0.605, 0.464], atol=5e-4)
