"""That an engine returned as many organoids as it can, said once of a network in training instead of once an image."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakSet

from organoseg.models.protocol import CappedResultWarning, capacity_option

Found = TypeVar("Found")
_TOLD: WeakSet[Any] = WeakSet()


def told_once(segmenter: Any, act: Callable[[], Found]) -> Found:
    """Do ``act``; what it warns of images that hold as many organoids as the engine returns is said once.

    A network of few steps finds organoids everywhere and scores them all alike, so in training every image is full.
    Said for each, it would bury what else a run has to say. Other warnings pass. ``segmenter`` is a network of ours.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CappedResultWarning)
        found = act()
    capped = False
    for warning in caught:
        if issubclass(warning.category, CappedResultWarning):
            capped = True
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    if capped and segmenter not in _TOLD:
        _TOLD.add(segmenter)
        text = (
            f"the network returns as many organoids of an image as it can, {segmenter.max_instances}; what it scores "
            "lower is lost. Early in training these are guesses, and losing some costs nothing. If the run's last "
            f"figures are poor, or predict warns of it too, raise model.options.{capacity_option(segmenter)}."
        )
        warnings.warn(CappedResultWarning(text), stacklevel=3)
    return found
