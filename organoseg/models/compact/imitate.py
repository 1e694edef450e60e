"""The imitation losses where the compact engine has them: in the windows of its positive locations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from organoseg.models.compact.assignment import Assignment, window_mean
from organoseg.models.compact.layout import WINDOW
from organoseg.models.imitation import first_order, zero_order
from organoseg.models.protocol import Target


def imitation_terms(
    targets: Sequence[Target],
    assigned: Assignment,
    stride: int,
    drawn: Tensor,
    scores: Tensor,
) -> Tensor:
    """Sums of L_p and L_c over the positive locations of a level whose organoid the teacher sees, float (2,).

    Assigning locations to organoids is the matching. Each pair counts as much as its teacher is sure; the classes'
    part of L_p is the squared distance of the location's score from that certainty.

    Parameters
    ----------
    drawn
        (K, 64, 64) mask logits of the locations.
    scores
        (K,) score logits of the locations, of the organoid's class.
    """
    index, teacher, valid, sure = [], [], [], []
    for k, (b, i) in enumerate(assigned.owner):
        soft = (targets[b].soft or ())[i : i + 1]
        if not soft or soft[0] is None:
            continue
        one, row, column = soft[0], int(assigned.row[k]), int(assigned.column[k])
        index.append(k)
        sure.append(one.score)
        teacher.append(window_mean(one.values, one.y, one.x, row, column, stride))
        # A cell that the teacher's box covers by less than half is not known.
        box = window_mean(np.ones(one.values.shape, bool), one.y, one.x, row, column, stride)
        valid.append((box > 0.5) & (assigned.inside[k] > 0))
    if not index:
        return drawn.new_zeros(2)
    where = torch.tensor(index, device=drawn.device)
    weight = torch.tensor(sure, dtype=torch.float32, device=drawn.device)
    shape = (-1, WINDOW, WINDOW)
    known = torch.from_numpy(np.stack(valid)).to(drawn.device).view(shape)
    said = torch.from_numpy(np.stack(teacher)).to(drawn.device).view(shape)
    mine = drawn[where].float().sigmoid()
    doubt = (weight - scores[where].float().sigmoid()).square()
    zero = zero_order(mine, said, known) + doubt
    return torch.stack([(weight * zero).sum(), (weight * first_order(mine, said, known)).sum()])
