"""A compact network that goes on from another one instead of from its encoder's weights."""

from __future__ import annotations

from pathlib import Path

import torch

from organoseg.core import UsageError
from organoseg.models.agnostic import carry_over
from organoseg.models.starter import TITLE as STARTER
from organoseg.models.starter import starter

#: Options that decide what the weights mean.
_SAME = ("width", "padding")


def read_start(start: str) -> torch.nn.Module:
    """The trained engine to begin from: the package's starter model by its name, or a model folder.

    Raises
    ------
    DataError
        There is no model, or it is damaged.
    UsageError
        It is a model of another engine.
    """
    from organoseg.models.folder import load_module

    folder = starter() if start == STARTER else Path(start)
    module, description = load_module(folder)
    if description.engine != "compact":
        raise UsageError(
            f"a compact network cannot begin from one of engine {description.engine}",
            where=f"recipe, model.options.start: {start}",
            remedy=f"Give the folder of a compact model, or {STARTER}.",
        )
    return module


def begin_from(engine: torch.nn.Module, source: torch.nn.Module, start: str) -> None:
    """Put a trained engine's weights into a new one, which may tell other classes apart.

    Between the same classes everything is taken over. A source of one class gives all but the class predictor to an
    engine of several.

    Raises
    ------
    UsageError
        They differ in ``width`` or ``padding``, or the source tells other classes apart.
    """
    theirs, ours = source.options, engine.options
    for name in _SAME:
        if theirs[name] != ours[name]:  # type: ignore[index]
            raise UsageError(
                f"the network to begin from has {name} {theirs[name]}, this one {ours[name]}",  # type: ignore[index]
                where=f"recipe, model.options.start: {start}",
                remedy=f"Set model.options.{name} to {theirs[name]}, or leave it out.",  # type: ignore[index]
            )
    if source.classes == engine.classes:
        engine.load_state_dict(source.state_dict(), strict=True)
    else:
        several = len(engine.classes) > 1  # type: ignore[arg-type]
        carry_over(source, engine, "fresh" if several else "copied")
