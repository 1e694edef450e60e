"""From an engine that knows organoids to one that knows their classes: all is taken over but the class predictor.

What an engine learnt without classes (where organoids are, and how they are drawn) is worth keeping when classes
come; what tells classes apart begins anew (Qi et al. 2022, "CA-SSL").
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from organoseg.core import DataError, Instances, UsageError
from organoseg.io.instances_json import ORGANOID
from organoseg.models.protocol import Segmenter, Target, capacity_of, capacity_option

#: Mask IoU above which what was found as two classes is one organoid.
SAME = 0.7
Predictor = Literal["fresh", "copied"]


@torch.no_grad()
def carry_over(old: nn.Module, new: nn.Module, predictor: Predictor) -> tuple[str, ...]:
    """Put what an engine of one class has learnt into an engine of K classes, and account for every tensor.

    Parameters
    ----------
    old
        An engine of one class.
    new
        The same engine with K >= 1 classes, as it is built: changed in place.
    predictor
        ``fresh``: what tells classes apart stays as `new` has it. ``copied``: every class begins with the filter of the
        one class, so that each finds what the old engine found; where classes and "no object" share one softmax, each
        class gets a K-th of its odds, and "no object" is as probable as before.

    Returns
    -------
    tuple of str
        Names of the tensors that stayed as `new` has them.

    Raises
    ------
    UsageError
        The engine does not say which of its tensors go by class, or `old` knows several classes.
    DataError
        A tensor is neither of the same shape in both, nor one that goes by class.
    """
    kinds = _class_tensors(old)
    known, classes = len(_classes(old)), len(_classes(new))
    if known != 1:
        raise UsageError(
            f"an engine of one class is needed, this one tells {known} apart",
            remedy="Merge its classes before it trains.",
        )
    ours, theirs = new.state_dict(), old.state_dict()
    _compare(ours, theirs)
    if getattr(old, "layout", None) != getattr(new, "layout", None):
        raise DataError("the two engines see images in other ways (anchors, enlargement, means)")
    kept = []
    for name, tensor in ours.items():
        kind = kinds.get(name)
        if kind == "score" and predictor == "fresh":
            kept.append(name)
            continue
        tensor.copy_(_fitted(name, theirs[name], tensor, kind, classes))
    return tuple(kept)


def predictor_parameters(engine: nn.Module) -> frozenset[int]:
    """The ``id`` of every parameter that tells classes apart."""
    scores = {name for name, kind in _class_tensors(engine).items() if kind == "score"}
    return frozenset(id(p) for name, p in engine.named_parameters() if name in scores)


def split_groups(engine: nn.Module, groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Optimiser groups in which the class predictor and the trunk never share one; each says ``trunk``, a bool."""
    apart = predictor_parameters(engine)
    split = []
    for group in groups:
        for trunk in (True, False):
            some = [p for p in group["params"] if (id(p) not in apart) == trunk]
            if some:
                split.append({**group, "params": some, "trunk": trunk})
    return split


def _class_tensors(engine: nn.Module) -> dict[str, str]:
    found = getattr(engine, "class_tensors", None)
    if not found:
        raise UsageError(
            f"the engine {type(engine).__name__} does not say which of its parts tell classes apart",
            where="recipe, model.engine",
            remedy="Choose another engine, or another method.",
        )
    return dict(found)


def _classes(engine: nn.Module) -> tuple[int, ...]:
    return tuple(getattr(engine, "classes", ()))


def _compare(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    missing, left = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    if missing or left:
        raise DataError(
            f"the engines are of different kinds: {len(missing)} tensors are missing {missing[:3]}, "
            f"{len(left)} are left over {left[:3]}",
            remedy="Build both with the same options.",
        )


def _fitted(name: str, old: Tensor, new: Tensor, kind: str | None, classes: int) -> Tensor:
    """What the new tensor begins with."""
    if kind == "score":
        made = _scores(old, classes)
    elif kind == "place" and old.shape != new.shape:
        made = _places(old, new.shape, classes)
    else:
        made = old
    if made.shape != new.shape:
        raise DataError(
            f"{name} has the shape {tuple(old.shape)} with one class and {tuple(new.shape)} with {classes}, and the "
            "engine does not say how one follows from the other",
            remedy="Choose another architecture, or another method.",
        )
    return made


def _scores(old: Tensor, classes: int) -> Tensor:
    """The row of the one class for each; what follows it is common to all, such as "no object"."""
    row, common = old[:1].repeat(classes, *[1] * (old.ndim - 1)), old[1:]
    if len(common) and old.ndim == 1:
        row = row - math.log(classes)
    return torch.cat([row, common])


def _places(old: Tensor, shape: torch.Size, classes: int) -> Tensor:
    """Boxes and masks of the one class for each; where a layer sees the classes' masks, each counts a K-th."""
    if old.ndim > 1 and old.shape[1] + classes - 1 == shape[1]:
        seen = old[:, -1:].repeat(1, classes, *[1] * (old.ndim - 2)) / classes
        old = torch.cat([old[:, :-1], seen], 1)
    if old.shape[0] * classes == shape[0]:
        old = old.repeat(classes, *[1] * (old.ndim - 1))
    return old


class OneClass(nn.Module):
    """An engine whose classes count as one: for looking only. What it takes for two classes at once is one organoid."""

    def __init__(self, engine: Segmenter) -> None:
        super().__init__()
        self.engine = engine
        self.classes = tuple(ORGANOID)
        self.max_instances = engine.max_instances
        self.capacity_option = capacity_option(engine)

    def capacity(self, shape: tuple[int, int]) -> int:
        """Most instances returned for an image of this shape."""
        return capacity_of(self.engine, shape)

    @torch.no_grad()
    def segment(self, pixels: Tensor, score_threshold: float = 0.05) -> list[Instances]:
        """Instances of each image (B, 1, H, W), best score first, all of class 1."""
        found = self.engine.segment(pixels, score_threshold)
        return [of_one_class(instances).nms(SAME) for instances in found]


def of_one_class(instances: Instances) -> Instances:
    """The same organoids, all of class 1."""
    return instances.replace(classes=np.full(len(instances), min(ORGANOID), np.int32))


def target_of_one_class(target: Target) -> Target:
    """The same target, its organoids all of class 1."""
    return replace(target, instances=of_one_class(target.instances))
