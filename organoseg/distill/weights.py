"""What the teacher takes from the student: once everything, then a moving average."""

from __future__ import annotations

import torch
from torch import nn


def _pairs(teacher: nn.Module, student: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    ours, theirs = teacher.state_dict(keep_vars=True), student.state_dict(keep_vars=True)
    if ours.keys() != theirs.keys():
        raise ValueError(
            "teacher and student have different tensors"
        )  # a programming error, not a user's
    return [(ours[k], theirs[k]) for k in ours]


@torch.no_grad()
def copy_weights(teacher: nn.Module, student: nn.Module) -> None:
    """teacher := student, parameters and buffers."""
    for a, b in _pairs(teacher, student):
        a.copy_(b)


@torch.no_grad()
def average_weights(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """teacher := decay * teacher + (1 - decay) * student; integer buffers are copied.

    Tarvainen & Valpola 2017, "Mean teachers are better role models". Without ``no_grad`` the in-place update would
    grow a graph with every step.
    """
    for a, b in _pairs(teacher, student):
        if a.is_floating_point():
            a.lerp_(b.to(a.dtype), 1 - decay)
        else:
            a.copy_(b)


def decay_of_half_life(steps: float) -> float:
    """The decay with which a student's share halves every ``steps`` updates."""
    return 0.5 ** (1 / max(steps, 1e-6))


def freeze(module: nn.Module) -> nn.Module:
    """Make a teacher of it: evaluation mode, no gradients."""
    module.eval()
    for p in module.parameters():
        p.requires_grad_(False)
    return module
