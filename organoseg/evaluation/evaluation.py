"""Evaluation: the figures of one comparison, as values, as JSON and as a table."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from organoseg.evaluation.bootstrap import Interval
from organoseg.evaluation.coco import CocoFigures


@dataclass(frozen=True)
class OperatingPoint:
    """What a user gets who keeps the predictions with at least `threshold` as score.

    precision, recall, f1: at IoU .5, over all images; msa: mean over images and IoU .5 to .95 of
    TP / (TP + FP + FN); count_error: mean |predicted - labelled| an image; count_bias: mean
    (predicted - labelled); recall_isolated, recall_overlapping: recall by overlap;
    matched, predicted: numbers of predictions. NaN where there is nothing to divide by.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    msa: float
    count_error: float
    count_bias: float
    recall_isolated: float
    recall_overlapping: float
    matched: int
    predicted: int


@dataclass(frozen=True)
class Evaluation:
    """How good predictions are against labels.

    coco: pycocotools' figures; best: at the score threshold with the highest F1; given: at the
    threshold the caller asked for; recall_isolated, recall_overlapping: recall at IoU .5 with all
    predictions, of organoids with up to / over 10 % of their area covered by others; images,
    organoids, overlapping, predictions: how many; intervals: 95 % bootstrap intervals over images
    by the names of `to_dict` (those of `best` keep its threshold); bootstrap, seed: how they were
    drawn; ids_from_1: where `coco` is spoilt by an annotation of id 0 in the labels' file, the
    figures without that fault (the intervals are theirs), else None.
    """

    coco: CocoFigures
    best: OperatingPoint
    given: OperatingPoint | None
    recall_isolated: float
    recall_overlapping: float
    images: int
    organoids: int
    overlapping: int
    predictions: int
    intervals: Mapping[str, Interval]
    bootstrap: int
    seed: int
    ids_from_1: CocoFigures | None = None

    @property
    def ap(self) -> float:
        """Mask AP, mean over IoU .5 to .95."""
        return self.coco.ap

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a figure without a value is None."""
        coco = self.coco
        figures: dict[str, Any] = {
            "AP": coco.ap,
            "AP50": coco.ap50,
            "AP75": coco.ap75,
            "AP_small": coco.ap_small,
            "AP_medium": coco.ap_medium,
            "AP_large": coco.ap_large,
            "AR": coco.ar,
            **_mended(self.ids_from_1),
            "recall_isolated": self.recall_isolated,
            "recall_overlapping": self.recall_overlapping,
            **_point(self.best),
            "images": self.images,
            "organoids": self.organoids,
            "overlapping_organoids": self.overlapping,
            "predictions": self.predictions,
            "max_detections": coco.max_detections,
            "at_given_threshold": None if self.given is None else _plain(_point(self.given)),
            "intervals": {n: [_value(i.low), _value(i.high)] for n, i in self.intervals.items()},
            "bootstrap": self.bootstrap,
            "seed": self.seed,
        }
        return _plain(figures)

    def table(self) -> str:
        """The figures as lines of text for a terminal."""
        from organoseg.evaluation.table import render

        return render(self)


def _mended(coco: CocoFigures | None) -> dict[str, Any]:
    if coco is None:
        return {}
    return {
        "AP_ids_from_1": coco.ap,
        "AP50_ids_from_1": coco.ap50,
        "AP75_ids_from_1": coco.ap75,
    }


def _point(point: OperatingPoint) -> dict[str, Any]:
    return {
        "score_threshold": point.threshold,
        "precision": point.precision,
        "recall": point.recall,
        "F1": point.f1,
        "mSA": point.msa,
        "count_error": point.count_error,
        "count_bias": point.count_bias,
        "recall_isolated_at_threshold": point.recall_isolated,
        "recall_overlapping_at_threshold": point.recall_overlapping,
        "matched": point.matched,
        "predicted": point.predicted,
    }


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in figures.items()}


def _value(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
