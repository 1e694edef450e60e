"""What a student sees in one step and should learn there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from organoseg.models.protocol import Segmenter, Target


@dataclass(frozen=True, eq=False)
class Branch:
    """Crops that the student sees, what it should see there, and how much that counts.

    Parameters
    ----------
    name
        Before the names of its loss terms; another one for each branch of a step.
    member
        The part of the student that sees it, where the student is several engines; None: the student itself.
    """

    name: str
    pixels: Tensor
    targets: Sequence[Target]
    weight: float = 1.0
    member: Segmenter | None = None

    def part(self, index: int, parts: int) -> Branch:
        """One of so many parts of about equal size."""
        n = len(self.targets)
        some = slice(n * index // parts, n * (index + 1) // parts)
        return replace(self, pixels=self.pixels[some], targets=self.targets[some])


def engine_of(student: Segmenter, branch: Branch) -> Any:
    """The engine that sees a branch."""
    return student if branch.member is None else branch.member
