"""From a recipe to a pair of engines."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from organoseg.core import UsageError
from organoseg.distill.feature_augmentation import FeatureAugmentation, FeatureStatistics
from organoseg.models.pair import FIRST, SECOND, Pair
from organoseg.training.methods import Mutual
from organoseg.training.recipe import Model, Recipe

#: The second member's seed is this far from the first's.
APART = 500


def models_of(recipe: Recipe, method: Mutual) -> dict[str, Model]:
    """The engine of each member, by its name."""
    partner = method.partner
    second = recipe.model
    if partner is not None:
        second = Model(
            engine=partner.engine,
            encoder_weights=partner.encoder_weights,
            options=partner.options,
        )
    return {FIRST: recipe.model, SECOND: second}


def new_pair(
    recipe: Recipe, method: Mutual, seed: int, build: Callable[[Model, int], nn.Module]
) -> Pair:
    """Two fresh engines, and what is kept of their features where these are to be varied.

    Raises
    ------
    UsageError
        An engine that does not hand out its features is to vary them.
    """
    models = models_of(recipe, method)
    pair = Pair(build(models[FIRST], seed), build(models[SECOND], seed + APART))
    if method.feature_augmentation:
        _vary(pair, models)
    return pair


def _vary(pair: Pair, models: dict[str, Model]) -> None:
    spreads = {}
    for name, member in pair.members.items():
        over = getattr(member, "spread_over", None)
        if over is None:
            raise UsageError(
                f"the engine {models[name].engine} does not hand out the features before its class predictor, so they "
                "cannot be varied",
                where="recipe, method.feature_augmentation",
                remedy="Set it to 0.",
            )
        known = FeatureStatistics(*over)
        spreads[name] = (known, FeatureAugmentation(known))
    pair.vary(spreads)
