"""What a student may learn of a teacher's soft masks: the probabilities, and how they change from place to place.

Xie et al. 2018, "Improving fast segmentation with teacher-student learning", taught maps of whole images: the
zero-order loss compares probabilities, the first-order loss compares consistency maps, which are near zero inside
regions and large at edges. Here both are taken of one organoid at a time, around the teacher's mask, so that
background does not dilute them and organoids that overlap do not disturb each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from organoseg.core import UsageError

#: Steps to the 8 neighbours.
NEIGHBOURS = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))


@dataclass(frozen=True)
class Imitation:
    """How much a teacher's soft masks count beside the ordinary losses.

    Parameters
    ----------
    zero_order
        Factor of the loss on probabilities, ``alpha`` in the paper.
    first_order
        Factor of the loss on consistency maps, ``beta`` in the paper. These maps are small.
    """

    zero_order: float = 1.0
    first_order: float = 5.0

    def __post_init__(self) -> None:
        if not (0 <= self.zero_order < float("inf") and 0 <= self.first_order < float("inf")):
            raise UsageError("weights of the imitation losses must be finite and not negative")


def consistency(probability: Tensor, valid: Tensor) -> Tensor:
    """Mean distance of each place's probability to those of its neighbours.

    Parameters
    ----------
    probability
        float (K, H, W).
    valid
        bool (K, H, W): the places that count. A neighbour that does not is left out of the mean, and so is what lies
        beyond the border.

    Returns
    -------
    Tensor
        float (K, H, W); 0 where a place does not count or has no neighbour that does.
    """
    height, width = probability.shape[-2:]
    wide = F.pad(probability, (1, 1, 1, 1))
    there = F.pad(valid.to(probability.dtype), (1, 1, 1, 1))
    total = torch.zeros_like(probability)
    count = torch.zeros_like(probability)
    for y, x in NEIGHBOURS:
        rows, columns = slice(1 + y, 1 + y + height), slice(1 + x, 1 + x + width)
        good = there[..., rows, columns]
        total = total + (probability - wide[..., rows, columns]).abs() * good
        count = count + good
    return total / count.clamp(min=1) * valid


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """(K, H, W) to the mean over the valid places of each, (K,); 0 where there is none."""
    kept = valid.to(values.dtype)
    return (values * kept).flatten(1).sum(1) / kept.flatten(1).sum(1).clamp(min=1)


def zero_order(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """L_p of each pair: the mean of (s_teacher - s_student)^2 over the valid places.

    Parameters
    ----------
    student, teacher
        float (K, H, W): mask probabilities of K matched organoids.
    valid
        bool (K, H, W): places inside the teacher's box and the image.

    Returns
    -------
    Tensor
        float (K,).
    """
    return _mean((teacher - student).square(), valid)


def first_order(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """L_c of each pair: the mean of (c_teacher - c_student)^2 of the consistency maps; as `zero_order`."""
    difference = consistency(teacher, valid) - consistency(student, valid)
    return _mean(difference.square(), valid)
