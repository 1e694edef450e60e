"""Which prediction is which labelled organoid: the table every figure is read from.

Matching is COCO's: within a class, predictions from the best score down each take the free
organoid with the largest IoU that reaches the threshold. Leaving out the predictions under some
score leaves the matches of the others as they are, so one table serves every score threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Instances

# COCO's own way to make them: the bits of 0.6 and 0.85 decide at exact ties.
IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True, eq=False)
class ImageMatches:
    """The matches of one image with D predictions (best score first) and G labelled organoids.

    scores: float64 (D,); classes: int32 (D,); partners: int32 (10, D), the organoid each
    prediction takes at each IoU threshold, -1 for none; truth_classes: int32 (G,); pairs: int32
    (K, 2), prediction and organoid of the same class with an IoU of at least .5; pair_ious:
    float64 (K,).
    """

    scores: NDArray[np.float64]
    classes: NDArray[np.int32]
    partners: NDArray[np.int32]
    truth_classes: NDArray[np.int32]
    pairs: NDArray[np.int32]
    pair_ious: NDArray[np.float64]

    def found(self, score: float = -np.inf, threshold: int = 0) -> NDArray[np.bool_]:
        """Organoids (G,) that a prediction with at least `score` takes at an IoU threshold."""
        taken = self.partners[threshold][self.scores >= score]
        found = np.zeros(len(self.truth_classes), np.bool_)
        found[taken[taken >= 0]] = True
        return found


def match_image(predictions: Instances, truth: Instances) -> ImageMatches:
    """The match table of one image; DataError when the two are of different size."""
    order = np.argsort(-predictions.scores.astype(np.float64), kind="stable")
    ranked = predictions.select(order)
    same = ranked.classes[:, None] == truth.classes[None, :]
    ious = np.where(same, ranked.iou(truth), 0.0)
    rows, columns = np.nonzero(ious >= IOU_THRESHOLDS[0])
    pair_ious = ious[rows, columns]
    partners = np.full((len(IOU_THRESHOLDS), len(ranked)), -1, np.int32)
    for line, threshold in zip(partners, IOU_THRESHOLDS.tolist(), strict=True):
        _match(line, rows, columns, pair_ious, threshold)
    return ImageMatches(
        ranked.scores.astype(np.float64),
        ranked.classes,
        partners,
        truth.classes,
        np.stack([rows, columns], axis=1).astype(np.int32),
        pair_ious,
    )


def _match(
    partners: NDArray[np.int32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    ious: NDArray[np.float64],
    threshold: float,
) -> None:
    """Fill `partners` (D,) from candidate pairs, which come row by row."""
    taken: set[int] = set()
    best = -1.0
    for row, column, iou in zip(rows.tolist(), columns.tolist(), ious.tolist(), strict=True):
        if iou < threshold or column in taken:
            continue
        held = int(partners[row])
        if held < 0:
            best = -1.0
        # At equal IoU the later organoid wins, as in COCO.
        if iou >= best:
            if held >= 0:
                taken.discard(held)
            partners[row], best = column, iou
            taken.add(column)


def match_all(
    predictions: Mapping[str, Instances], truth: Mapping[str, Instances]
) -> tuple[ImageMatches, ...]:
    """One table an image of `truth`, in its order; an image without predictions has none.

    DataError, naming the image, when predictions and labels are of different size.
    """
    tables = []
    for name, labelled in truth.items():
        found = predictions.get(name)
        if found is None:
            found = Instances.empty(labelled.shape)
        if found.shape != labelled.shape:
            raise DataError(
                f"Predictions are for an image of {_size(found)}, the labels for {_size(labelled)}",
                where=name,
                remedy="Predict on the images that were labelled, at their own size",
            )
        tables.append(match_image(found, labelled))
    return tuple(tables)


def classes_of(tables: Sequence[ImageMatches]) -> list[int]:
    """The classes that are labelled anywhere, rising."""
    return sorted({int(c) for table in tables for c in table.truth_classes.tolist()})


def _size(instances: Instances) -> str:
    return f"{instances.shape[0]} x {instances.shape[1]} pixels"
