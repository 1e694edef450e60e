"""Implicit feature augmentation: logits as if every feature had been varied as its class varies.

Wang et al. 2021, "Regularizing deep networks with semantic data augmentation" (ISDA), as mutual distillation uses it
(Yuan et al. 2022, arXiv 2208.11499; methods.md, 5): the features before the classifier are taken to vary about their
class mean as N(0, ratio * diag(var_y)), and the expected cross entropy over all these variations has a closed bound.

For a softmax head with weights w_j, and a place of class y::

    logit_j += ratio / 2 * sum_d (w_jd - w_yd)^2 var_yd

A sigmoid head is the softmax of two classes whose weights are w and 0, so with z = w f + b the place's own logit
moves by ``spread`` = ratio / 2 * sum_d w_d^2 var_yd: to z - spread where y is the class (its loss is log(1 + exp(-z)),
and E exp(-w f') = exp(-w f + spread) for a normal f'; log is concave, so Jensen's inequality bounds the expectation),
and to z + spread where it is not. For a soft label q the two halves of the cross entropy move apart::

    q * softplus(-(z - spread)) + (1 - q) * softplus(z + spread)

Variances and weights are constants of a step: no gradient goes through them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def softmax_shift(weights: Tensor, variances: Tensor, ratio: float) -> Tensor:
    """What is added to each logit of a place of each class.

    Parameters
    ----------
    weights
        (C, D) of the classifier.
    variances
        (C, D) of the features of each class.

    Returns
    -------
    Tensor
        (C, C): row y, column j.
    """
    weights = weights.detach()
    distance = (weights[None, :, :] - weights[:, None, :]).square()
    return ratio / 2 * torch.einsum("yjd,yd->yj", distance, variances)


def sigmoid_spread(weights: Tensor, variances: Tensor, ratio: float) -> Tensor:
    """By how much the logits of a place of each class move, towards the wrong side.

    Parameters
    ----------
    weights
        (K, D): one row a sigmoid.
    variances
        (C, D) of the features of each class; "nothing" may be one of them.

    Returns
    -------
    Tensor
        (C, K), none negative: row y, column k.
    """
    return ratio / 2 * variances @ weights.detach().square().T


def ramp(step: int, steps: int, ratio: float) -> float:
    """The ratio of a step: a cosine from 0 at the first to ``ratio`` at the last of ``steps``."""
    position = min(max(step / max(steps - 1, 1), 0.0), 1.0)
    return ratio * 0.5 * (1 - math.cos(math.pi * position))


class FeatureStatistics(nn.Module):
    """Running mean and diagonal variance of the features of each class, over all that was seen.

    What a step sees is kept apart until `commit`, so that a step in parts, or of several processes, has the same
    statistics and the same shifts as a step in one. All of it lies in buffers: checkpoints carry it.

    Parameters
    ----------
    classes
        Classes that are told apart, "nothing" among them where it is one.
    width
        Features before the classifier.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor
    new: Tensor

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(classes, dtype=torch.float32))
        self.register_buffer("mean", torch.zeros(classes, width, dtype=torch.float32))
        self.register_buffer("variance", torch.zeros(classes, width, dtype=torch.float32))
        # Of this step: how many, their sum, and the sum of their squares.
        self.register_buffer("new", torch.zeros(classes, 1 + 2 * width, dtype=torch.float32))

    @torch.no_grad()
    def see(self, features: Tensor, classes: Tensor) -> None:
        """Take note of features (N, D) of the classes (N,)."""
        features = features.detach().float()
        rows = torch.cat([features.new_ones(len(features), 1), features, features.square()], 1)
        self.new.index_add_(0, classes, rows)

    @torch.no_grad()
    def commit(self, share: Callable[[Tensor], Tensor] = lambda values: values) -> None:
        """Let what was seen since the last time count.

        ``share``: the sum over the processes that share a step.
        """
        new = share(self.new.clone())
        self.new.zero_()
        width = self.mean.shape[1]
        count = new[:, 0]
        n = count.clamp(min=1)[:, None]
        mean = new[:, 1 : 1 + width] / n
        variance = (new[:, 1 + width :] / n - mean.square()).clamp(min=0)
        total = self.count + count
        w = (count / total.clamp(min=1))[:, None]
        # The variance of two groups together (Chan et al. 1983): within, and between their means.
        between = w * (1 - w) * (self.mean - mean).square()
        self.variance.copy_((1 - w) * self.variance + w * variance + between)
        self.mean.copy_((1 - w) * self.mean + w * mean)
        self.count.copy_(total)


@dataclass(eq=False)
class FeatureAugmentation:
    """What an engine is given as its ``spread``: it says what it sees, and asks how far logits move.

    Not a module: an engine that holds it keeps its own tensors and no others.
    """

    statistics: FeatureStatistics
    ratio: float = 0.0

    def see(self, features: Tensor, classes: Tensor) -> None:
        """Features (N, D) of places of the classes (N,)."""
        self.statistics.see(features, classes)

    def of(self, weights: Tensor) -> Tensor:
        """(C, K): how far the logits of a place of each class move, for sigmoids of these weights (K, D)."""
        return sigmoid_spread(weights, self.statistics.variance.to(weights.dtype), self.ratio)
