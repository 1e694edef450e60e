"""Weights that others have trained: by name, from a file or folder, mapped strictly onto our networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organoseg.models.published.catalogue import CATALOGUE, PublishedWeights, names_for
from organoseg.models.published.store import cache_folder, find, offline, resolve, weights_cache

if TYPE_CHECKING:
    from organoseg.models.published.loading import adopt_names, load_backbone, load_start

__all__ = [
    "CATALOGUE",
    "PublishedWeights",
    "adopt_names",
    "cache_folder",
    "find",
    "load_backbone",
    "load_start",
    "names_for",
    "offline",
    "resolve",
    "weights_cache",
]


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is asked for: recipes and the doctor ask for names alone."""
    if name not in ("adopt_names", "load_backbone", "load_start"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from organoseg.models.published import loading

    return getattr(loading, name)
