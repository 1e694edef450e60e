"""Engines by name, imported only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from organoseg.core import UsageError

#: Name of an engine and where its builder lives: ``module:function(classes, options) -> Module``.
ENGINES: dict[str, str] = {
    "compact": "organoseg.models.compact.build:build",
    "detectron2": "organoseg.models.detectron2.build:build",
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
    if name not in ENGINES:
        raise UsageError(
            f"unknown engine {name!r}",
            where="recipe, model.engine",
            remedy=f"Choose one of: {', '.join(ENGINES)}.",
        )
    module, _, function = ENGINES[name].partition(":")
    build: Callable[..., torch.nn.Module] = getattr(importlib.import_module(module), function)
    return build(classes, options, encoder_weights)
