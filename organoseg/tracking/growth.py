"""How fast an organoid grows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: A rate of fewer points would say nothing of its own error.
FEWEST = 3


@dataclass(frozen=True)
class Growth:
    """Relative growth of an area for each unit of time: ``rate``, and the 95 % interval ``low`` to ``high``."""

    rate: float
    low: float
    high: float

    @property
    def doubling(self) -> float | None:
        """The time in which the area doubles; None where it does not grow."""
        return math.log(2) / self.rate if self.rate > 0 else None


def growth(times: Sequence[float], areas: Sequence[float]) -> Growth | None:
    """The slope of ln(area) over time: Theil and Sen's median of all pairs, which one bad mask does not bend.

    times: rising, in any unit; areas: above 0, in any unit. None with fewer than three points, or all at one time.
    """
    from scipy.stats import theilslopes

    if len(times) < FEWEST or max(times) == min(times):
        return None
    rate, _, low, high = theilslopes(np.log(np.asarray(areas, np.float64)), times, 0.95)
    return Growth(float(rate), float(low), float(high))
