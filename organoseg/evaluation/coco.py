"""The headline figures, by pycocotools itself."""

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from organoseg.core import Instances


@dataclass(frozen=True)
class CocoFigures:
    """COCO's mask figures, 0 to 1, NaN where nothing is labelled.

    ap: mean over IoU .5 to .95; ap50, ap75: at IoU .5 and .75; small, medium, large: `ap` of
    organoids under 32², up to 96², and above (pixels); ar: mean recall over the same IoUs;
    max_detections: the most predictions of an image that count, never fewer than there are.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar: float
    max_detections: int


def coco_figures(
    predictions: Mapping[str, Instances],
    ground_truth: Mapping[str, Instances],
    first_id: int = 1,
) -> CocoFigures:
    """COCOeval on masks, matched by image name; its limit on detections follows the data.

    first_id: what id 1 of `ground_truth` is in its file (`CocoInstances.first_id`). pycocotools
    takes a match with an organoid of id 0 for no match; with `first_id` below 1 it gets to do so,
    and the figures are those that it reads from the file itself.
    """
    most = max([100, *(len(p) for name, p in predictions.items() if name in ground_truth)])
    classes = sorted({int(c) for truth in ground_truth.values() for c in truth.classes})
    if not classes:
        return CocoFigures(*(float("nan"),) * 7, max_detections=most)
    sides = _datasets(predictions, ground_truth, classes, first_id)
    evaluation = _run(*sides, most)
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    return CocoFigures(
        ap=_mean(precision[..., 0, -1]),
        ap50=_mean(precision[0, ..., 0, -1]),
        ap75=_mean(precision[5, ..., 0, -1]),
        ap_small=_mean(precision[..., 1, -1]),
        ap_medium=_mean(precision[..., 2, -1]),
        ap_large=_mean(precision[..., 3, -1]),
        ar=_mean(recall[..., 0, -1]),
        max_detections=most,
    )


def has_id_zero(ground_truth: Mapping[str, Instances], first_id: int) -> bool:
    """Whether an organoid has id 0 in the file that `ground_truth` was read from."""
    return any(bool((one.ids + first_id == 1).any()) for one in ground_truth.values())


def _run(labelled: dict[str, Any], predicted: dict[str, Any], most: int) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    # pycocotools reports on stdout, which belongs to our caller.
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset, found.dataset = labelled, predicted
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, "segm")
        evaluation.params.maxDets = [1, 10, most]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _datasets(
    predictions: Mapping[str, Instances],
    ground_truth: Mapping[str, Instances],
    classes: list[int],
    first_id: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Labels and predictions as COCO holds them."""
    numbers = {name: number for number, name in enumerate(ground_truth, start=1)}
    images = [
        {"id": number, "height": ground_truth[name].shape[0], "width": ground_truth[name].shape[1]}
        for name, number in numbers.items()
    ]
    categories = [{"id": number, "name": str(number)} for number in classes]
    head = {"images": images, "categories": categories}
    labelled = _annotations(ground_truth, numbers, 1 - first_id)
    # A prediction is never the one that pycocotools overlooks.
    predicted = _annotations(predictions, numbers, 0)
    return {**head, "annotations": labelled}, {**head, "annotations": predicted}


def _annotations(
    instances: Mapping[str, Instances], numbers: Mapping[str, int], zero: int
) -> list[dict[str, Any]]:
    """COCO annotations with ids from 1 on; but the organoid whose id here is `zero` has 0."""
    annotations: list[dict[str, Any]] = []
    for name, number in numbers.items():
        if name not in instances:
            continue
        one = instances[name]
        columns = (one.ids, one.to_rles(), one.areas, one.scores, one.classes)
        for own, rle, area, score, category in zip(*columns, strict=True):
            annotations.append(
                {
                    "id": 0 if own == zero else len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(category),
                    "segmentation": rle,
                    "area": int(area),
                    "score": float(score),
                    "iscrowd": 0,
                }
            )
    return annotations


def _mean(values: np.ndarray[Any, Any]) -> float:
    """The mean where pycocotools has a value (it writes -1 where it has none)."""
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else float("nan")
