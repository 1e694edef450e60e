"""What an engine may want to know of the labelled organoids before it is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.dataset import LabelledDataset


@dataclass(frozen=True, eq=False)
class LabelStatistics:
    """Sizes and crowding of the labelled organoids.

    Attributes
    ----------
    sizes
        Square root of each organoid's box area, px of the image, float64 (N,).
    most
        Organoids in the most crowded image.
    zoom
        Range of the random zoom of training crops.
    short_side
        Median shorter side of the images, px.
    """

    sizes: NDArray[np.float64]
    most: int
    zoom: tuple[float, float] = (1.0, 1.0)
    short_side: float = 0.0


def statistics_of(dataset: LabelledDataset, zoom: Sequence[float] = (1.0, 1.0)) -> LabelStatistics:
    """Statistics of a labelled set; regions where nobody looked do not count."""
    boxes = np.concatenate([np.zeros((0, 4))] + [item.instances.boxes for item in dataset])
    sides = boxes[:, 2:] - boxes[:, :2]
    shapes = [min(item.image.shape[-2:]) for item in dataset]
    return LabelStatistics(
        np.sqrt(sides.prod(1)),
        max((len(item.instances) for item in dataset), default=0),
        (float(zoom[0]), float(zoom[1])),
        float(np.median(shapes)) if shapes else 0.0,
    )
