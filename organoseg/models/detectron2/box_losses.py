"""What each box costs by itself, so that a teacher's doubtful box can count less than a person's."""

from __future__ import annotations

from typing import Any

from detectron2.layers import ciou_loss, diou_loss
from detectron2.modeling.box_regression import giou_loss, smooth_l1_loss
from torch import Tensor

OVERLAPS = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}


def box_costs(part: Any, start: Tensor, deltas: Tensor, truth: Tensor) -> Tensor:
    """Cost (R,) of the corrections ``deltas`` (R, 4) of boxes ``start``, where they should lead to ``truth``.

    Parameters
    ----------
    part
        detectron2's proposal generator or box predictor: it says how corrections are coded and what they cost.
    """
    transform, kind = part.box2box_transform, part.box_reg_loss_type
    if kind == "smooth_l1":
        wanted = transform.get_deltas(start, truth)
        each: Tensor = smooth_l1_loss(deltas, wanted, part.smooth_l1_beta, reduction="none")
        return each.sum(1)
    moved = transform.apply_deltas(deltas, start)
    found: Tensor = OVERLAPS[kind](moved, truth, reduction="none")
    return found


def of_class(deltas: Tensor, label: Tensor) -> Tensor:
    """(R, 4) of the class of each region, from (R, 4) for all classes or (R, C * 4)."""
    if deltas.shape[1] == 4:
        return deltas
    return deltas.unflatten(1, (-1, 4)).gather(1, label[:, None, None].expand(-1, 1, 4))[:, 0]
