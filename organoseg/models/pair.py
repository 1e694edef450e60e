"""Two engines that train as one student: averages, descents and checkpoints know it as any other network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from organoseg.core import Instances, UsageError
from organoseg.models.ensemble import agree
from organoseg.models.protocol import FeatureSpread, Segmenter, Target, capacity_of

#: Names of the two, before the names of their tensors.
FIRST, SECOND = "a", "b"


class Pair(nn.Module):
    """See :class:`organoseg.models.protocol.Segmenter`.

    Each member is trained by what is given to it alone (``Branch.member``); what is given to the pair trains both.
    Asked about an image, it answers with what the two agree on.

    Parameters
    ----------
    first, second
        Two engines for the same classes; they may be of different kinds.
    """

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__()
        if tuple(first.classes) != tuple(second.classes):
            raise UsageError("two engines of different classes are no pair")
        self.members = nn.ModuleDict({FIRST: first, SECOND: second})
        self.classes: tuple[int, ...] = tuple(first.classes)
        #: Most instances that both can return for an image.
        self.max_instances = min(int(first.max_instances), int(second.max_instances))
        #: What a method keeps of each member beside its weights, such as statistics; saved and averaged with them.
        self.kept = nn.ModuleDict()

    def __getitem__(self, name: str) -> Any:
        """A member by its name."""
        return self.members[name]

    def __iter__(self) -> Iterator[Any]:
        """The members."""
        return iter(self.members.values())

    def other(self, name: str) -> Any:
        """The member that is not called so."""
        return self.members[other(name)]

    def vary(self, spreads: Mapping[str, tuple[nn.Module, FeatureSpread]]) -> None:
        """Let the losses of members be those of varying features; what is kept of them travels with the pair."""
        for name, (kept, spread) in spreads.items():
            self.kept[name] = kept
            self[name].spread = spread

    # -- what loops ask of an engine -----------------------------------------------------------

    @property
    def options(self) -> dict[str, Any]:
        """Of both: the fewer ``queries``, where a member has some."""
        known = [dict(getattr(member, "options", None) or {}).get("queries") for member in self]
        some = [queries for queries in known if isinstance(queries, int)]
        return {"queries": min(some)} if some else {}

    def capacity(self, shape: tuple[int, int]) -> int:
        """Most instances that both can return for an image of this shape."""
        return min(capacity_of(member, shape) for member in self)

    @property
    def stride(self) -> int:
        """Windows over an image begin where both members' may."""
        return math.lcm(*(int(getattr(member, "stride", 32)) for member in self))

    def train_on(self, side: int) -> None:
        """Tell those that want to know it the side (px) of the training crops."""
        for member in self:
            told = getattr(member, "train_on", None)
            if callable(told):
                told(side)

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether both compute activations twice."""
        return all(bool(getattr(member, "gradient_checkpointing", False)) for member in self)

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, on: bool) -> None:
        for member in self:
            if not hasattr(member, "gradient_checkpointing"):
                raise UsageError(
                    "one engine of the pair cannot compute its activations twice",
                    where="recipe, training.checkpointing",
                    remedy="Set it to false.",
                )
            member.gradient_checkpointing = on

    def losses(self, pixels: torch.Tensor, targets: Sequence[Target]) -> dict[str, torch.Tensor]:
        """Terms of both members on the same images, ``a.`` and ``b.`` before their names."""
        return {
            f"{name}.{term}": value
            for name, member in self.members.items()
            for term, value in member.losses(pixels, targets).items()  # type: ignore[operator]
        }

    @torch.no_grad()
    def segment(self, pixels: torch.Tensor, score_threshold: float = 0.05) -> list[Instances]:
        """What both see of each image, best first; what one sees alone has half its score."""
        seen = [member.segment(pixels, score_threshold) for member in self]
        fused = (agree(views) for views in zip(*seen, strict=True))
        return [f.select(f.scores >= score_threshold) for f in fused]

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """The groups of both."""
        return [
            group
            for member in self
            for group in member.parameter_groups(learning_rate, weight_decay)
        ]


def other(name: str) -> str:
    """Name of the other member."""
    return {FIRST: SECOND, SECOND: FIRST}[name]


def pair_of(segmenter: Segmenter | nn.Module) -> Pair:
    """The pair that a network is. TypeError where it is none: a programming error."""
    if not isinstance(segmenter, Pair):
        raise TypeError(f"{type(segmenter).__name__} is no pair")
    return segmenter
