"""``model.options`` of the mask2former engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from organoseg.core import UsageError
from organoseg.models.compact.encoder import Padding

BackboneName = Literal[
    "resnet18", "resnet50", "resnet101",
    "swin_t", "swin_s", "swin_b", "swin_l",
    "convnext_tiny", "convnext_small", "convnext_base",
    "dinov2_s", "dinov2_b", "dinov2_l",
    "dinov3_s", "dinov3_b", "dinov3_l",
    "dinov3_convnext_tiny", "dinov3_convnext_small",
    "mobilenet_v2",
]  # fmt: skip

#: Enlargements that keep the image's padding a whole number of px.
UPSCALES = (1.0, 1.5, 2.0)


class Mask2FormerOptions(BaseModel):
    """Values of the paper (Cheng et al. 2022; Berrada et al. 2023) where nothing else is said."""

    model_config = ConfigDict(extra="forbid", strict=True)

    backbone: BackboneName = "resnet50"
    queries: int = Field(
        100, ge=1, le=2000, description="at least twice the organoids of the most crowded crop"
    )
    hidden: int = Field(256, ge=32, le=1024, multiple_of=32, description="width of both decoders")
    heads: int = Field(8, ge=1, le=32, description="attention heads")
    ffn: int = Field(2048, ge=16, description="width of the query decoder's inner layers")
    encoder_ffn: int = Field(1024, ge=16, description="width of the pixel decoder's inner layers")
    encoder_layers: int = Field(6, ge=1, le=12, description="layers of the pixel decoder")
    decoder_layers: int = Field(9, ge=1, le=24, description="layers of the query decoder")
    points: int = Field(12544, ge=16, description="points at which masks are compared")
    oversample: float = Field(3.0, ge=1, description="candidates a point is chosen from")
    importance: float = Field(0.75, ge=0, le=1, description="share of points at uncertain places")
    class_weight: float = Field(2.0, ge=0)
    mask_weight: float = Field(5.0, ge=0)
    dice_weight: float = Field(5.0, ge=0)
    no_object_weight: float = Field(0.1, gt=0, le=1, description="of a query without an organoid")
    upscale: float = Field(
        1.0, description="the image is enlarged so much (1, 1.5 or 2): organoids are small"
    )
    window: int | None = Field(
        None, ge=64, multiple_of=32, description="side (px) of what the network sees at once: places are "
        "told to it as shares of that, so it finds little in anything of another size; null: the training crop",
    )  # fmt: skip
    max_instances: int | None = Field(
        None, ge=1, description="most organoids returned for an image or tile; null: the queries"
    )
    mask_nms: float | None = Field(
        None, gt=0, le=1, description="mask IoU above which two are one organoid; null: off"
    )
    smallest_area: int = Field(16, ge=0, description="smaller organoids (px) are not reported")
    frozen_norms: bool | None = Field(
        None,
        description="batch normalisation uses the pre-trained statistics; null: where there are any",
    )
    backbone_rate: float | None = Field(
        None, ge=0, le=1, description="learning rate of the backbone over the head's; null: 0.1, "
        "or 1 for a random backbone; 0: it is not trained",
    )  # fmt: skip
    drop_path: float | None = Field(
        None, ge=0, lt=1, description="stochastic depth of the backbone; null: as published"
    )
    padding: Padding | None = Field(
        None, description="mobilenet_v2 only: convention of its weights; null: theirs"
    )
    gradient_checkpointing: bool = Field(
        False, description="half the memory of a step for a third more of its time"
    )
    compile: bool = Field(False, description="torch.compile on a GPU: slow start, faster steps")
    start: str | None = Field(
        None, description="a whole published Mask2Former, by name or path, to start from"
    )

    @field_validator("upscale", "class_weight", "mask_weight", "dice_weight", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("upscale")
    @classmethod
    def _known_upscale(cls, value: float) -> float:
        if value not in UPSCALES:
            raise ValueError("upscale is 1, 1.5 or 2")
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Mask2FormerOptions:
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) is no multiple of heads ({self.heads})")
        if self.padding is not None and self.backbone != "mobilenet_v2":
            raise ValueError("padding is a matter of mobilenet_v2 only")
        return self

    @property
    def most(self) -> int:
        """Most organoids returned for an image."""
        return self.max_instances or self.queries


def parse_options(options: Mapping[str, Any]) -> Mask2FormerOptions:
    """Options checked; UsageError names the one that is wrong."""
    try:
        return Mask2FormerOptions.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"option {place}: {message}" if place else message,
            where="recipe, model.options",
            remedy=f"The mask2former engine takes: {', '.join(Mask2FormerOptions.model_fields)}.",
        ) from error
