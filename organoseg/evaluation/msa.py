"""Mean segmentation accuracy: TP / (TP + FP + FN), mean over IoU .5 to .95."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from organoseg.evaluation.matching import IOU_THRESHOLDS, ImageMatches


def segmentation_accuracy(tables: Sequence[ImageMatches], score: float) -> NDArray[np.float64]:
    """The measure of each image (I,), for predictions with at least `score`.

    As in the cell segmentation papers, as many pairs as possible are matched at each IoU
    threshold, whatever the scores. An image with neither prediction nor organoid counts 1.
    """
    return np.array([_one_image(table, score) for table in tables], np.float64)


def _one_image(table: ImageMatches, score: float) -> float:
    # Predictions stand best first, so those that count are the front of the list.
    predicted = int(np.count_nonzero(table.scores >= score))
    labelled = len(table.truth_classes)
    if predicted == 0 or labelled == 0:
        return float(predicted == labelled)
    pairs = table.pairs[table.pairs[:, 0] < predicted]
    ious = table.pair_ious[table.pairs[:, 0] < predicted]
    true = np.array([_most(pairs[ious >= t], predicted, labelled) for t in IOU_THRESHOLDS.tolist()])
    return float(np.mean(true / (predicted + labelled - true)))


def _most(pairs: NDArray[np.int32], predicted: int, labelled: int) -> int:
    """The largest number of one-to-one matches among the candidate pairs (K, 2)."""
    from scipy.sparse import coo_array, csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    if len(pairs) == 0:
        return 0
    ones = np.ones(len(pairs), np.int8)
    graph = csr_array(coo_array((ones, (pairs[:, 0], pairs[:, 1])), (predicted, labelled)))
    return int(np.count_nonzero(maximum_bipartite_matching(graph, perm_type="column") >= 0))
