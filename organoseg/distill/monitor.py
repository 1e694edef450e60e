"""Watching pseudo-labels, so that a run that teaches itself nonsense is seen early."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from organoseg.models.protocol import Target


def area_shift(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Kolmogorov-Smirnov distance of two samples of areas, 0 (alike) to 1; 1 where one is empty."""
    if not len(a) or not len(b):
        return 1.0
    grid = np.sort(np.concatenate([a, b]))
    left = np.searchsorted(np.sort(a), grid, side="right") / len(a)
    right = np.searchsorted(np.sort(b), grid, side="right") / len(b)
    return float(np.abs(left - right).max())


def _areas(target: Target) -> NDArray[np.float64]:
    """px of what a target teaches; its grid may be coarser than the image."""
    taught = target.instances.areas[~target.ignored]
    return taught.astype(np.float64) * target.stride**2


class Monitor:
    """Collects the pseudo-labels of some steps and says what they are like."""

    def __init__(self, labelled: Sequence[Target]) -> None:
        taught = [t.instances.select(~t.ignored) for t in labelled]
        self.density = float(np.mean([len(i) for i in taught]))
        self._areas = np.concatenate([_areas(t) for t in labelled])
        self._seen: list[Target] = []

    def see(self, targets: Sequence[Target]) -> None:
        """Add the pseudo-labels of one step."""
        self._seen.extend(targets)

    def report(self) -> dict[str, float]:
        """Figures since the last report, per crop.

        kept, ignored: pseudo-labels; certain: kept ones counted by their certainty, which is what compares with the
        labelled density; empty: share of crops without any; score: mean; area_shift: see `area_shift`.
        """
        seen, self._seen = self._seen, []
        if not seen:
            return {}
        kept = [t.instances.select(~t.ignored) for t in seen]
        scores = np.concatenate([k.scores for k in kept])
        areas = np.concatenate([_areas(t) for t in seen])
        return {
            "kept": float(np.mean([len(k) for k in kept])),
            "certain": float(np.mean([t.confidence[~t.ignored].sum() for t in seen])),
            "ignored": float(np.mean([t.ignored.sum() for t in seen])),
            "empty": float(np.mean([len(k) == 0 for k in kept])),
            "score": float(scores.mean()) if len(scores) else 0.0,
            "area_shift": area_shift(areas, self._areas),
            "labelled_density": self.density,
        }

    def warning(self, facts: dict[str, float]) -> str | None:
        """Words for a collapse, or None."""
        if not facts or not self.density:
            return None
        found = f"the teacher is sure of {facts['certain']:.2f} organoids a crop where people drew {self.density:.2f}"
        if facts["certain"] < 0.1 * self.density:
            return f"{found}: the archive may be of another kind, or method.accept is too high"
        if facts["certain"] > 4 * self.density:
            return f"{found}: it may take debris for organoids; raise method.accept"
        return None
