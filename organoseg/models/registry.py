"""Engines by name, imported only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch

from organoseg.core import UsageError
from organoseg.models.statistics import LabelStatistics

#: Name of an engine and where its builder lives: ``module:function(classes, options) -> Module``.
ENGINES: dict[str, str] = {
    "compact": "organoseg.models.compact.build:build",
    "detectron2": "organoseg.models.detectron2.build:build",
    "mask2former": "organoseg.models.mask2former.build:build",
}


def build_engine(
    name: str, classes: Sequence[int], options: Mapping[str, Any], encoder_weights: str | None
) -> torch.nn.Module:
    """A fresh engine: its encoder pre-trained, its heads random (from torch's generator).

    Parameters
    ----------
    encoder_weights
        A file, a published name, or None for an encoder that is random on purpose.

    Raises
    ------
    UsageError
        Unknown engine, option or weights.
    DataError
        Weights that do not fit.
    """
    build: Callable[..., torch.nn.Module] = getattr(_module(name), ENGINES[name].partition(":")[2])
    return build(classes, options, encoder_weights)


def adapted_options(
    name: str, options: Mapping[str, Any], statistics: LabelStatistics
) -> dict[str, Any]:
    """What an engine makes of the options that a recipe leaves to it, once the labelled organoids are known.

    An engine that has such options has a function ``adapt_options(options, statistics)`` beside its builder. The
    same data give the same options, so a resumed run finds the engine it was started with.

    Raises
    ------
    UsageError
        Unknown engine or option.
    """
    adapt = getattr(_module(name), "adapt_options", None)
    return dict(options) if adapt is None else adapt(options, statistics)


def _module(name: str) -> ModuleType:
    if name not in ENGINES:
        raise UsageError(
            f"unknown engine {name!r}",
            where="recipe, model.engine",
            remedy=f"Choose one of: {', '.join(ENGINES)}.",
        )
    return importlib.import_module(ENGINES[name].partition(":")[0])
