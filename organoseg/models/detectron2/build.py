"""From a recipe's words to a detectron2 engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from organoseg.core import UsageError
from organoseg.models.detectron2.adaptation import adapt_options as adapt_options
from organoseg.models.detectron2.options import Detectron2Options, parse_options, resolved
from organoseg.models.detectron2.presence import require


def build(
    classes: Sequence[int], options: Mapping[str, Any], encoder_weights: str | None
) -> torch.nn.Module:
    """See :func:`organoseg.models.registry.build_engine`; detectron2 is imported here and nowhere before.

    Raises
    ------
    UsageError
        detectron2 is absent, an option is wrong, or weights are of a name nobody knows.
    DataError
        Weights that do not fit.
    """
    chosen = parse_options(options)
    require()
    from organoseg.models.detectron2 import weights

    weighted = chosen.start is not None or encoder_weights is not None
    if encoder_weights is not None and chosen.padding is None:
        chosen = chosen.model_copy(update={"padding": weights.padding_for(chosen, encoder_weights)})
    chosen = resolved(chosen, weighted)
    _check_anchors(chosen)
    engine = _engine(classes, chosen)
    if encoder_weights is not None:
        weights.load_backbone(engine, encoder_weights, chosen.trust_pickle)
    if chosen.start is not None:
        weights.load_network(engine, chosen.start, chosen.trust_pickle)
    # The folder's weights say it all from now on: what they came from need not be there when it is loaded.
    engine.options |= {"start": None, "trust_pickle": False}
    return engine


def _engine(classes: Sequence[int], chosen: Detectron2Options) -> Any:
    from organoseg.models.detectron2.engine import Detectron2Segmenter

    return Detectron2Segmenter(classes, chosen)


def _check_anchors(chosen: Detectron2Options) -> None:
    pyramid = not chosen.architecture.endswith(("C4", "DC5"))
    if pyramid and not chosen.config and len(chosen.anchors or ()) != 5:
        raise UsageError(
            f"{len(chosen.anchors or ())} anchor sizes for the five levels of the pyramid",
            where="recipe, model.options.anchors",
            remedy="Give five sizes, or null to take them from the labelled organoids.",
        )
