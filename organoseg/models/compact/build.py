"""From a recipe's words to a compact engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from organoseg.core import UsageError
from organoseg.models.compact.encoder import Padding
from organoseg.models.compact.engine import CompactSegmenter
from organoseg.models.compact.start import begin_from, read_start
from organoseg.models.published import resolve
from organoseg.models.weights import (
    layout_of,
    load_encoder,
    padding_of,
    read_tensors,
)


class CompactOptions(BaseModel):
    """``model.options`` of the compact engine."""

    model_config = ConfigDict(extra="forbid")

    width: int = Field(
        64, ge=16, le=512, multiple_of=16, description="channels of the feature pyramid"
    )
    frozen_blocks: int = Field(
        3, ge=0, le=17, description="first encoder blocks that are not trained"
    )
    max_instances: int = Field(
        500, ge=1, description="most organoids returned for an image or tile"
    )
    nms: float = Field(0.6, gt=0, le=1, description="mask IoU above which two are one organoid")
    padding: Padding | None = Field(
        None, description="convention of the encoder's weights; null: theirs"
    )
    start: str | None = Field(
        None,
        description="a trained compact model to go on from, as a folder, or `starter`, the package's own; "
        "model.encoder_weights is then not read",
    )


def parse_options(options: Mapping[str, Any]) -> CompactOptions:
    """Options checked; UsageError names the one that is wrong."""
    try:
        return CompactOptions.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"option {'.'.join(map(str, first['loc']))}: {first['msg']}",
            where="recipe, model.options",
            remedy=f"The compact engine takes: {', '.join(CompactOptions.model_fields)}.",
        ) from error


def build(
    classes: Sequence[int], options: Mapping[str, Any], encoder_weights: str | None
) -> torch.nn.Module:
    """See :func:`organoseg.models.registry.build_engine`."""
    chosen = parse_options(options)
    tensors, path = None, None
    padding: Padding = chosen.padding or "symmetric"
    source = read_start(chosen.start) if chosen.start is not None else None
    if source is not None:
        padding = chosen.padding or source.options["padding"]  # type: ignore[index,assignment]
    elif encoder_weights is not None:
        path = resolve(encoder_weights)
        tensors = read_tensors(path)
        padding = chosen.padding or padding_of(layout_of(tensors))
    # A random encoder must learn its edge filters too.
    frozen = (
        chosen.frozen_blocks
        if tensors is not None or source is not None or "frozen_blocks" in chosen.model_fields_set
        else 0
    )
    engine = CompactSegmenter(
        classes, chosen.width, padding, frozen, chosen.max_instances, chosen.nms
    )
    if tensors is not None and path is not None:
        load_encoder(engine.encoder, tensors, path)
    engine.options = chosen.model_copy(
        update={"padding": padding, "frozen_blocks": frozen, "start": None}
    ).model_dump()
    if source is not None and chosen.start is not None:
        begin_from(engine, source, chosen.start)
    return engine.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
