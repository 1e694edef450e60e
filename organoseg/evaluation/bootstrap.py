"""Percentile intervals: how far a figure would move with another draw of images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.int64]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of a figure over resampled images."""

    low: float
    high: float


def resamplings(images: int, times: int, seed: int) -> Weights:
    """How often each of `images` images is drawn, int64 (times, images); each row sums up to it."""
    draws = np.random.default_rng(seed).integers(0, images, (times, images))
    offsets = np.arange(times)[:, None] * images
    counts = np.bincount((draws + offsets).reshape(-1), minlength=times * images)
    return counts.reshape(times, images)


def interval(samples: NDArray[np.float64]) -> Interval:
    """The interval of resampled values (B,); draws without a value (NaN) are left out."""
    valid = samples[np.isfinite(samples)]
    if valid.size == 0:
        return Interval(float("nan"), float("nan"))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(valid, [tail, 1 - tail])
    return Interval(float(low), float(high))


def over_resamplings(
    figure: Callable[[Weights], NDArray[np.float64]], weights: Weights
) -> NDArray[np.float64]:
    """`figure` (several values, (K,)) of each row of weights: float64 (B, K)."""
    return np.array([figure(row) for row in weights])
