"""The one interface every engine speaks: images in, :class:`~organoseg.core.Instances` out.

Everything in ``organoseg.distill`` and ``organoseg.training`` is written against these types, so each
method of the family runs on each engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Instances, UsageError
from organoseg.core.soft_mask import SoftMask

if TYPE_CHECKING:
    import torch


class AbsentPart(UsageError):
    """An engine needs an optional part that is not installed; the remedy says how it is."""


class CappedResultWarning(UserWarning):
    """An image holds at least as many organoids as the engine can return; some may be lost.

    ``image``: its name, or None for a look at several images.
    """

    def __init__(self, text: str, image: str | None = None) -> None:
        super().__init__(text)
        self.image = image


class CrowdedTargetWarning(UserWarning):
    """A training image holds more organoids than the engine can learn from at once."""


@dataclass(frozen=True, eq=False)
class Target:
    """What one training image should produce, and how far to trust each part of it.

    Parameters
    ----------
    instances
        The organoids of the image, N of them.
    weights
        float32 (N,), >= 0: how much the *mask* of an instance counts in the loss.
    confidence
        float32 (N,) in [0, 1]: how sure it is that the instance is an organoid. Engines use it as the soft
        label of the detection score. 1 for labels made by a person.
    ignored
        bool (N,): neither organoid nor background. Predictions there cost nothing.
    background_weight
        How much an unclaimed place counts as background; 1 for labels made by a person.
    stride
        Pixels of the image a side of one cell of the instances' grid: above 1 the masks are coarser than the
        image, as the paper's pseudo-masks are (4).
    pseudo
        Whether a teacher made it and not a person. Engines that learn boxes apart from masks do not learn them
        from a teacher, whose boxes carry no sign of how good they are.
    soft
        For each instance the soft mask of a teacher that is imitated, or None where that teacher does not see it.
        None for the whole where nobody is imitated.
    """

    instances: Instances
    weights: NDArray[np.float32]
    confidence: NDArray[np.float32]
    ignored: NDArray[np.bool_]
    background_weight: float = 1.0
    stride: int = 1
    pseudo: bool = False
    soft: tuple[SoftMask | None, ...] | None = None

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise DataError(f"Target.stride is {self.stride}, expected 1 or more")
        n = len(self.instances)
        for name in ("weights", "confidence", "ignored"):
            if getattr(self, name).shape != (n,):
                raise DataError(
                    f"Target.{name} has shape {getattr(self, name).shape}, expected ({n},)"
                )
        if self.soft is not None and len(self.soft) != n:
            raise DataError(f"Target.soft has {len(self.soft)} entries, expected {n}")

    @classmethod
    def labelled(cls, instances: Instances) -> Target:
        """Target made by a person: every instance counts fully, nothing is ignored."""
        n = len(instances)
        ones = np.ones(n, np.float32)
        return cls(instances, ones, ones, np.zeros(n, bool))


class FeatureSpread(Protocol):
    """How far the features of each class vary, for engines that train as if they had seen the variations.

    Classes are numbered as the engine's scores are; the last one is "nothing".
    """

    def see(self, features: torch.Tensor, classes: torch.Tensor) -> None:
        """Take note of features (N, D), as they reach the class predictor, of places of the classes int64 (N,)."""
        ...

    def of(self, weights: torch.Tensor) -> torch.Tensor:
        """(C, K): by how much the logits of a place of each class move towards the wrong side.

        ``weights`` (K, D) are those of the class predictor, a sigmoid a row.
        """
        ...


@dataclass(frozen=True, eq=False)
class QueryPredictions:
    """What each query of an engine with queries says, before anything is chosen.

    Parameters
    ----------
    probabilities
        float32 (B, Q, K + 1): softmax over the K classes, in the engine's order, and "no object", which is last.
    masks
        float32 (B, Q, ceil(H / 4), ceil(W / 4)): mask logits on a grid of four pixels of the image.
    """

    probabilities: torch.Tensor
    masks: torch.Tensor


@runtime_checkable
class Segmenter(Protocol):
    """An engine. Concrete engines are ``torch.nn.Module`` as well (see :mod:`organoseg.models.registry`).

    ``pixels`` are grey images as float32 tensors (B, 1, H, W), normalised by
    :func:`organoseg.core.normalised`. H and W are free; the engine pads as it needs.

    Optional are:

    - ``normaliser``, a callable that a loop sets where a batch is computed in parts or by several processes. Every
      number that the engine divides a batch's sums by passes through it (a float32 tensor of any shape, in the same
      order at every call of `losses`), and what comes back is divided by, without further bounds.
    - ``denominators(shape, targets)``: the same numbers, float32 (k,), from the targets of images of one shape alone.
      Without it a batch in parts costs one more look.
    - ``gradient_checkpointing``, a bool: spare memory by computing activations twice.
    - ``stride``, an int: windows over an image begin at multiples of it (px), 32 where it is absent.
    - ``capacity(shape)``, an int: the most instances returned for an image of that shape, ``max_instances`` where it is
      absent.
    - ``train_on(side)``: be told the side (px) of the training crops before training begins.
    - ``spread``, a `FeatureSpread` that a method sets: losses then are those of features that vary as it says. With it
      comes ``spread_over``, (C, D): how many classes, with "nothing", and how many features.
    - ``imitation``, an :class:`~organoseg.models.imitation.Imitation` that a loop sets: what the soft masks of targets
      count, beside the ordinary losses. An engine without it cannot learn from them.
    - ``capacity_option``, the name of the option that bounds ``max_instances``, which is its name too where absent.
    - ``class_tensors``, from names of ``state_dict`` to how the tensor goes by class. "score": it tells classes apart;
      its rows are the classes', then those common to all. "place": boxes or masks of each class, all rows of a class
      together, or a layer whose last inputs are the classes' masks. All others know no class
      (:mod:`organoseg.models.agnostic`).
    """

    max_instances: int

    def losses(self, pixels: torch.Tensor, targets: Sequence[Target]) -> dict[str, torch.Tensor]:
        """Differentiable, already weighted terms; the training loss is their sum."""
        ...

    def segment(self, pixels: torch.Tensor, score_threshold: float = 0.05) -> list[Instances]:
        """Instances of each image, best score first. No gradient, no randomness."""
        ...

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimiser groups: what trains, how fast, and what decays."""
        ...


def capacity_of(segmenter: Segmenter, shape: tuple[int, int]) -> int:
    """Most instances that an engine returns for an image of this shape."""
    known = getattr(segmenter, "capacity", None)
    return segmenter.max_instances if known is None else int(known(shape))


def capacity_option(segmenter: Any) -> str:
    """The option of an engine to raise where it returned as many organoids as it can."""
    return str(getattr(segmenter, "capacity_option", "max_instances"))


@runtime_checkable
class QuerySegmenter(Segmenter, Protocol):
    """An engine that answers with a fixed set of queries; the paper's filter reads them directly."""

    classes: tuple[int, ...]

    def queries(self, pixels: torch.Tensor) -> QueryPredictions:
        """What each query says of each image (B, 1, H, W). No gradient, no randomness."""
        ...
