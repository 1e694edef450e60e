"""Limits and anchors that follow the labelled organoids, where a recipe leaves them open."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from organoseg.models.detectron2.options import Detectron2Options, parse_options
from organoseg.models.statistics import LabelStatistics

LOG = logging.getLogger("organoseg.models")
LEVELS = (4, 8, 16, 32, 64)
#: An anchor is at least so many strides of its level large; else neighbouring anchors leave organoids between them.
FINEST, COARSEST = 2.5, 16.0
#: Shares of the organoids' sizes that the smallest and the largest anchor stand for.
TAIL = 0.02
#: As many organoids are returned as the most crowded labelled image has, times this: others may be fuller.
ROOM = 3
LEAST = 100


def anchor_sizes(statistics: LabelStatistics, scale: float, pyramid: bool) -> tuple[float, ...]:
    """Five sizes (px of the image), evenly spaced in logarithm over the labelled sizes.

    On a pyramid each belongs to one level and stays within what that level's grid can match.

    Parameters
    ----------
    scale
        Enlargement that the network sees.
    """
    sizes = statistics.sizes
    low = float(np.quantile(sizes, TAIL)) * statistics.zoom[0]
    high = float(np.quantile(sizes, 1 - TAIL)) * statistics.zoom[1]
    spread = np.geomspace(max(low, 1.0), max(high, low * 1.5, 2.0), len(LEVELS))
    if pyramid:
        strides = np.array(LEVELS) / scale
        spread = np.clip(spread, FINEST * strides, COARSEST * strides)
    return tuple(round(float(size), 1) for size in spread)


def adapt_options(options: Mapping[str, Any], statistics: LabelStatistics) -> dict[str, Any]:
    """The recipe's options with its nulls filled in from the data; what it says itself stays.

    A ``short_side`` becomes the enlargement that it means for the labelled images, so that crops and whole images
    are seen at one scale.
    """
    chosen = parse_options(options)
    found: dict[str, Any] = {}
    scale = chosen.upscale
    if chosen.short_side is not None and statistics.short_side > 0:
        scale = round(min(max(chosen.short_side / statistics.short_side, 0.25), 4.0), 2)
        found |= {"short_side": None, "upscale": scale}
    if statistics.sizes.size and chosen.anchors is None and not chosen.config:
        found["anchors"] = anchor_sizes(statistics, scale, _has_pyramid(chosen))
    limit = chosen.max_instances or max(LEAST, ROOM * statistics.most)
    found["max_instances"] = limit
    found["proposals"] = chosen.proposals or max(1000, 4 * limit)
    found["regions_sampled"] = chosen.regions_sampled or max(512, 8 * statistics.most)
    _warn_of_limits(chosen, statistics.most)
    return {**chosen.model_dump(exclude_unset=True), **found}


def _has_pyramid(options: Detectron2Options) -> bool:
    return not options.architecture.endswith(("C4", "DC5"))


def _warn_of_limits(options: Detectron2Options, most: int) -> None:
    if options.max_instances is not None and options.max_instances < most:
        LOG.warning(
            "model.options.max_instances is %d, but a labelled image has %d organoids: %d of them "
            "can never be found. Raise it, or set it to null.",
            options.max_instances, most, most - options.max_instances,
        )  # fmt: skip
