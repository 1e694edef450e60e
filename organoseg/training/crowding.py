"""Engines with queries find at most so many organoids in a crop: are there enough for this data?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from organoseg.core import UsageError
from organoseg.dataset import LabelledImage
from organoseg.distill.views import Geometry
from organoseg.training.methods import Mutual
from organoseg.training.methods.mutual import Partner
from organoseg.training.plan import geometry_of
from organoseg.training.recipe import Model, Recipe

#: Crops of each labelled image that are counted.
CROPS = 40
#: Queries for each organoid of the most crowded crop, below which training suffers; and the fewest there are.
ENOUGH, FEWEST = 2, 100


def most_crowded(items: Iterable[LabelledImage], geometry: Geometry, seed: int) -> int:
    """Most organoids that a training crop shows, counted by boxes in `CROPS` random crops of each image."""
    rng, most = np.random.default_rng((seed, 5)), 0
    for item in items:
        boxes = item.instances.boxes
        height, width = item.instances.shape
        if geometry.jitter:
            # Below a scale of 1 the whole image is seen.
            side = max(height, width) if geometry.scale[0] <= 1 else 0
            side = side or round(max(height, width) / geometry.scale[0])
        else:
            side = round(geometry.crop / geometry.scale[0])
        window = np.minimum((side, side), (height, width))
        for _ in range(CROPS):
            y, x = (
                int(rng.integers(0, n - w + 1))
                for n, w in zip((height, width), window, strict=True)
            )
            inside = (boxes[:, 0] < y + window[0]) & (boxes[:, 2] > y)
            inside &= (boxes[:, 1] < x + window[1]) & (boxes[:, 3] > x)
            most = max(most, int(inside.sum()))
    return most


def resolve_queries(recipe: Recipe, items: Iterable[LabelledImage]) -> Recipe:
    """The recipe with a number of queries where it says ``auto``: twice the most crowded crop, and 100 at least."""
    method = recipe.method
    partner = method.partner if isinstance(method, Mutual) else None
    if not (_left_open(recipe.model) or _left_open(partner)):
        return recipe
    queries = max(FEWEST, ENOUGH * most_crowded(items, geometry_of(recipe), recipe.seed))
    changed: dict[str, Any] = {}
    if _left_open(recipe.model):
        changed["model"] = _with_queries(recipe.model, queries)
    if partner is not None and _left_open(partner):
        changed["method"] = method.model_copy(update={"partner": _with_queries(partner, queries)})
    return recipe.model_copy(update=changed)


def _left_open(model: Model | Partner | None) -> bool:
    return model is not None and model.options.get("queries") == "auto"


def _with_queries(model: Model | Partner, queries: int) -> Model | Partner:
    return model.model_copy(update={"options": {**model.options, "queries": queries}})


def check_queries(engine: Any, recipe: Recipe, items: Iterable[LabelledImage]) -> str | None:
    """A warning where an engine's queries may be too few for the data; None for engines without.

    Raises
    ------
    UsageError
        There are fewer queries than organoids in a crop: some could never be found.
    """
    queries = (getattr(engine, "options", None) or {}).get("queries")
    if not isinstance(queries, int):
        return None
    most = most_crowded(items, geometry_of(recipe), recipe.seed)
    if queries < most:
        raise UsageError(
            f"the most crowded training crop shows {most} organoids, and {queries} queries find at most {queries}",
            where="recipe, model.options.queries",
            remedy=f"Set it to auto or {ENOUGH * most}, or take a smaller training.augmentation.crop.",
        )
    if queries < ENOUGH * most:
        return (
            f"the most crowded training crop shows {most} organoids and the engine has {queries} queries; "
            f"{ENOUGH * most} or more learn better (model.options.queries)"
        )
    return None
