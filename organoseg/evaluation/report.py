"""`evaluate`: from two sets of Instances to an Evaluation."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Instances
from organoseg.evaluation import counts
from organoseg.evaluation.average_precision import precision_by_threshold, rank
from organoseg.evaluation.bootstrap import (
    Interval,
    Weights,
    interval,
    over_resamplings,
    resamplings,
)
from organoseg.evaluation.coco import CocoFigures, coco_figures, has_id_zero
from organoseg.evaluation.evaluation import Evaluation, OperatingPoint
from organoseg.evaluation.matching import ImageMatches, match_all
from organoseg.evaluation.msa import segmentation_accuracy
from organoseg.evaluation.overlap import overlap_tallies

_SHOWN = 5


def evaluate(
    predictions: Mapping[str, Instances],
    ground_truth: Mapping[str, Instances],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    score_threshold: float | None = None,
    first_id: int = 1,
) -> Evaluation:
    """Compare predictions with labels, image by image, matched by name.

    bootstrap: resamplings of the images for the 95 % intervals, 0 for none; seed: of them;
    score_threshold: report precision, recall and counts at this score as well; first_id: give
    `CocoInstances.first_id` of the labels to get the COCO figures that pycocotools reads from their
    file, with those of ids from 1 beside them where the file has an id 0 (and a warning). A labelled
    image without an entry in `predictions` counts as one where nothing was found, with a warning, and
    so does a class that only one side has. DataError: no labelled image, predictions for images
    that are not labelled, or for another image size.
    """
    _check_names(predictions, ground_truth)
    _check_classes(predictions, ground_truth)
    tables = match_all(predictions, ground_truth)
    overlap = overlap_tallies(tables, ground_truth.values())
    best = _operating_point(tables, ground_truth, counts.best_threshold(tables))
    given = None
    if score_threshold is not None:
        # Scores are float32: a prediction of score .9 must pass a threshold of .9.
        score = float(np.float32(score_threshold))
        given = replace(_operating_point(tables, ground_truth, score), threshold=score_threshold)
    isolated, overlapping = _overlap_recall(overlap.sum(axis=0))
    coco = coco_figures(predictions, ground_truth, first_id)
    return Evaluation(
        coco=coco,
        ids_from_1=_mended(coco, predictions, ground_truth, first_id),
        best=best,
        given=given,
        recall_isolated=float(isolated),
        recall_overlapping=float(overlapping),
        images=len(tables),
        organoids=sum(len(truth) for truth in ground_truth.values()),
        overlapping=int(overlap[:, 3].sum()),
        predictions=sum(len(found) for found in predictions.values()),
        intervals=_intervals(tables, overlap, best.threshold, bootstrap, seed),
        bootstrap=bootstrap,
        seed=seed,
    )


def _mended(
    coco: CocoFigures,
    predictions: Mapping[str, Instances],
    ground_truth: Mapping[str, Instances],
    first_id: int,
) -> CocoFigures | None:
    """The figures with ids from 1, and a warning, where an organoid of id 0 spoils them."""
    if not has_id_zero(ground_truth, first_id):
        return None
    figures = coco_figures(predictions, ground_truth)
    warnings.warn(
        "the ground truth has an annotation with id 0, and pycocotools takes a match with it for "
        f"no match: AP is {coco.ap:.4f} as everybody's pycocotools reads the file, and "
        f"{figures.ap:.4f} with annotations numbered from 1; intervals belong to the latter",
        stacklevel=3,
    )
    return figures


def _operating_point(
    tables: Sequence[ImageMatches], ground_truth: Mapping[str, Instances], score: float
) -> OperatingPoint:
    each = counts.tallies(tables, score)
    total = each.sum(axis=0)
    surplus = each[:, 1] - each[:, 2]
    by_overlap = overlap_tallies(tables, ground_truth.values(), score).sum(axis=0)
    isolated, overlapping = _overlap_recall(by_overlap)
    return OperatingPoint(
        threshold=score,
        precision=float(counts.precision(total)),
        recall=float(counts.recall(total)),
        f1=float(counts.f1(total)),
        msa=float(segmentation_accuracy(tables, score).mean()),
        count_error=float(np.abs(surplus).mean()),
        count_bias=float(surplus.mean()),
        recall_isolated=float(isolated),
        recall_overlapping=float(overlapping),
        matched=int(total[0]),
        predicted=int(total[1]),
    )


def _overlap_recall(
    tallies: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    isolated = counts.ratio(tallies[..., 0], tallies[..., 1])
    return isolated, counts.ratio(tallies[..., 2], tallies[..., 3])


def _intervals(
    tables: Sequence[ImageMatches],
    overlap: NDArray[np.int64],
    score: float,
    times: int,
    seed: int,
) -> dict[str, Interval]:
    """Intervals by name; those at a score threshold keep it as chosen on all images."""
    if times == 0:
        return {}
    weights = resamplings(len(tables), times, seed)
    ranked = rank(tables)

    def precisions(row: Weights) -> NDArray[np.float64]:
        by_threshold = precision_by_threshold(ranked, row)
        return np.array([by_threshold.mean(), by_threshold[0], by_threshold[5]])

    ap = over_resamplings(precisions, weights)
    each = counts.tallies(tables, score)
    total = weights @ each
    surplus = each[:, 1] - each[:, 2]
    isolated, overlapping = _overlap_recall(weights @ overlap)
    images = len(tables)
    samples = {
        "AP": ap[:, 0],
        "AP50": ap[:, 1],
        "AP75": ap[:, 2],
        "recall_isolated": isolated,
        "recall_overlapping": overlapping,
        "precision": counts.precision(total),
        "recall": counts.recall(total),
        "F1": counts.f1(total),
        "mSA": weights @ segmentation_accuracy(tables, score) / images,
        "count_error": weights @ np.abs(surplus) / images,
        "count_bias": weights @ surplus / images,
    }
    return {name: interval(values) for name, values in samples.items()}


def _check_names(
    predictions: Mapping[str, Instances], ground_truth: Mapping[str, Instances]
) -> None:
    if not ground_truth:
        raise DataError("There is no labelled image to compare with")
    unknown = [name for name in predictions if name not in ground_truth]
    if unknown:
        raise DataError(
            f"{len(unknown)} images with predictions are not labelled: {_listed(unknown)}",
            remedy="Images are matched by file name: give the ground truth of these images, or "
            "leave their predictions out",
        )
    missing = [name for name in ground_truth if name not in predictions]
    if missing:
        warnings.warn(
            f"{len(missing)} of {len(ground_truth)} labelled images have no predictions and count "
            f"as images where nothing was found: {_listed(missing)}",
            stacklevel=3,
        )


def _check_classes(
    predictions: Mapping[str, Instances], ground_truth: Mapping[str, Instances]
) -> None:
    labelled = {int(c) for truth in ground_truth.values() for c in truth.classes}
    found = np.concatenate([np.zeros(0, np.int32), *(p.classes for p in predictions.values())])
    strange = sorted(set(found.tolist()) - labelled)
    if strange and labelled:
        count = int(np.isin(found, strange).sum())
        warnings.warn(
            f"{count} predictions have a class that is not labelled anywhere: {strange}, labelled "
            f"are {sorted(labelled)}. AP leaves them out; elsewhere they count as wrong",
            stacklevel=3,
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
