"""Weights that others have trained: by name, from a file or folder, mapped strictly onto our networks."""

from organoseg.models.published.catalogue import CATALOGUE, PublishedWeights, names_for
from organoseg.models.published.loading import adopt_names, load_backbone, load_start
from organoseg.models.published.store import cache_folder, find, offline, resolve, weights_cache

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
