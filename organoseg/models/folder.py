"""A model is a folder: ``model.yaml`` (what it is), ``weights.safetensors``, ``README.md`` (its card)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from organoseg.core import DataError, UsageError, atomic_write, file_hash, write_text
from organoseg.models.card import model_card
from organoseg.models.protocol import AbsentPart

if TYPE_CHECKING:
    import torch

DESCRIPTION, WEIGHTS, CARD = "model.yaml", "weights.safetensors", "README.md"


class ModelDescription(BaseModel):
    """``model.yaml``."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    engine: str
    options: dict[str, Any] = Field(default_factory=dict)
    classes: dict[int, str] = Field(default_factory=lambda: {1: "organoid"})
    score_threshold: float = Field(0.3, ge=0, le=1, description="scores from here on are reported")
    thorough_threshold: float | None = Field(
        None, ge=0, le=1, description="the same for `predict --thorough`, whose scores are others"
    )
    pixel_size: float | None = Field(
        None, gt=0, description="µm per px of the training images, if known"
    )
    weights_sha256: str
    created: str
    trained_with: dict[str, Any] = Field(
        default_factory=dict, description="method, images, steps, seed, figures"
    )

    @property
    def identity(self) -> str:
        """Short name of exactly these weights, written beside every result."""
        return f"{self.engine}-{self.weights_sha256[:12]}"


def save_model(
    folder: Path,
    module: torch.nn.Module,
    engine: str,
    options: Mapping[str, Any],
    classes: Mapping[int, str],
    score_threshold: float,
    trained_with: Mapping[str, Any],
    thorough_threshold: float | None = None,
    pixel_size: float | None = None,
) -> ModelDescription:
    """Write a model folder; the description, written last, makes it whole."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    data = save({k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()})
    with atomic_write(folder / WEIGHTS) as file:
        file.write(data)
    description = ModelDescription(
        engine=engine,
        options=dict(options),
        classes=dict(classes),
        score_threshold=score_threshold,
        thorough_threshold=thorough_threshold,
        pixel_size=pixel_size,
        weights_sha256=hashlib.sha256(data).hexdigest(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        trained_with=dict(trained_with),
    )
    write_text(folder / CARD, model_card(description))
    text = yaml.safe_dump(description.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(folder / DESCRIPTION, text)
    return description


def read_description(folder: Path) -> ModelDescription:
    """``model.yaml`` of a model folder.

    Raises
    ------
    DataError
        No model there, or one that this version cannot read.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise DataError(
            "no model here (model.yaml is missing)",
            where=folder,
            remedy="Give the `model` folder of a finished run.",
        )
    try:
        return ModelDescription.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, ValidationError) as error:
        raise DataError(
            f"the model's description cannot be read: {error}",
            where=path,
            remedy="Export the model again.",
        ) from error


def load_module(folder: Path) -> tuple[torch.nn.Module, ModelDescription]:
    """The engine of a model folder with its weights, in evaluation mode, on the processor.

    Raises
    ------
    DataError
        The weights are damaged or do not fit the engine.
    UsageError
        The engine is unknown here.
    """
    from safetensors.torch import load_file

    from organoseg.models.registry import build_engine

    description = read_description(folder)
    path = folder / WEIGHTS
    if not path.is_file() or file_hash(path) != description.weights_sha256:
        raise DataError(
            "the model's weights are missing or damaged (sha256)",
            where=path,
            remedy="Copy the model folder again.",
        )
    try:
        module = build_engine(
            description.engine, tuple(description.classes), description.options, None
        )
    except AbsentPart:
        raise
    except UsageError as error:
        raise UsageError(
            error.what,
            where=folder / DESCRIPTION,
            remedy="Use the version of organoseg that made this model.",
        ) from error
    try:
        module.load_state_dict(load_file(path), strict=True)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"the weights do not fit the engine: {error}", where=path) from error
    module.eval()
    return module, description
