"""``model.options`` of the detectron2 engine: plain words, each checked, none executed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from organoseg.core import UsageError

Architecture = Literal[
    "mask_rcnn_mobilenet_v2_FPN",
    "mask_rcnn_R_18_FPN",
    "mask_rcnn_R_50_FPN",
    "mask_rcnn_R_101_FPN",
    "mask_rcnn_X_101_FPN",
    "mask_rcnn_R_50_C4",
    "mask_rcnn_R_101_C4",
    "mask_rcnn_R_50_DC5",
    "mask_rcnn_R_101_DC5",
    "mask_rcnn_vitdet_b",
    "mask_rcnn_vitdet_l",
    "cascade_mask_rcnn_R_50_FPN",
    "pointrend_R_50_FPN",
    "pointrend_R_101_FPN",
]
ARCHITECTURES: tuple[str, ...] = get_args(Architecture)
#: Mean and spread of photographs that the zoo's ResNets expect, in the order blue, green, red, 0 to 255.
PHOTOGRAPHS = (103.53, 116.28, 123.675)
UNSCALED = (1.0, 1.0, 1.0)
SPREAD = (57.375, 57.12, 58.395)

Triple = tuple[float, float, float]


class Detectron2Options(BaseModel):
    """What a recipe may say of this engine; null means that organoseg chooses, and writes down what it chose."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    architecture: Architecture = "mask_rcnn_R_50_FPN"
    start: str | None = Field(
        None, description="weights of a whole model: a name of detectron2's zoo, or a file"
    )
    trust_pickle: bool = Field(
        False, description="read weights that only Python's pickle can read; it may run code"
    )
    anchors: tuple[float, ...] | None = Field(
        None, min_length=1, max_length=16,
        description="anchor sizes, px of the image: one a pyramid level, or all on C4 and DC5; "
        "null: from the sizes of the labelled organoids",
    )  # fmt: skip
    aspect_ratios: tuple[float, ...] = Field((0.5, 1.0, 2.0), min_length=1, max_length=8)
    max_instances: int | None = Field(
        None, ge=1, le=20_000, description="most organoids returned for an image or tile; "
        "null: three times as many as in the most crowded labelled image, 100 at least",
    )  # fmt: skip
    proposals: int | None = Field(
        None, ge=10, le=100_000, description="regions looked at closely; null: 1000, or more"
    )
    anchors_sampled: int = Field(256, ge=8, description="anchors of a crop in the loss")
    regions_sampled: int | None = Field(
        None, ge=8, description="regions of a crop in the loss; null: 512, or more"
    )
    nms: float = Field(0.6, gt=0, le=1, description="box IoU above which two are one organoid")
    mask_nms: float | None = Field(
        0.6, gt=0, le=1, description="mask IoU above which two are one organoid; null: off"
    )
    mask_score: bool = Field(
        True, description="score = class probability x mean mask probability; false: the former"
    )
    upscale: float = Field(1.0, ge=0.25, le=4, description="enlargement the network sees")
    short_side: int | None = Field(
        None,
        ge=32,
        description="an image is brought to this shorter side instead, as in detectron2",
    )
    long_side: int = Field(1333, ge=32, description="... as long as its longer side stays below")
    norm: Literal["FrozenBN", "BN", "GN"] | None = Field(
        None, description="normalisation layers; null: FrozenBN with weights, GN without"
    )
    frozen_stages: int | None = Field(
        None, ge=0, le=5, description="first stages not trained; null: 2 with weights, 0 without"
    )
    width: int = Field(256, ge=32, multiple_of=32, description="channels of the feature pyramid")
    box_width: int = Field(1024, ge=32, description="width of the box head")
    padding: Literal["tensorflow", "symmetric"] | None = Field(
        None, description="of MobileNetV2's convolutions; null: that of its weights"
    )
    pseudo_boxes: bool = Field(
        False, description="a teacher's boxes teach positions too, not only what is an organoid"
    )
    encoder_rate: float | None = Field(
        None, gt=0, le=1, description="learning rate of the backbone, relative; "
        "null: 0.3 with weights, 1 without",
    )  # fmt: skip
    pixel_mean: Triple | None = Field(None, description="null: the zoo's")
    pixel_std: Triple | None = Field(
        None, description="null: the zoo's with weights, else about 57"
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="settings of an imported model, in detectron2's words"
    )

    @model_validator(mode="after")
    def _positive(self) -> Detectron2Options:
        for name in ("anchors", "aspect_ratios", "pixel_std"):
            if any(value <= 0 for value in getattr(self, name) or ()):
                raise ValueError(f"{name} must be above 0")
        if self.short_side is not None and self.long_side < self.short_side:
            raise ValueError("long_side must not be below short_side")
        return self


def parse_options(options: Mapping[str, Any]) -> Detectron2Options:
    """Options checked.

    Raises
    ------
    UsageError
        The first one that is wrong, by name.
    """
    try:
        return Detectron2Options.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "options"
        raise UsageError(
            f"option {place}: {first['msg'].removeprefix('Value error, ')}",
            where="recipe, model.options",
            remedy=f"The detectron2 engine takes: {', '.join(Detectron2Options.model_fields)}.",
        ) from error


def resolved(options: Detectron2Options, weighted: bool) -> Detectron2Options:
    """Every null replaced by what it means here; ``weighted``: whether pre-trained weights are loaded."""
    grey_encoder = options.architecture == "mask_rcnn_mobilenet_v2_FPN"
    raw = weighted and not any(n in options.architecture for n in ("vitdet", "X_101"))
    given: dict[str, Any] = {
        "max_instances": 100,
        "proposals": 1000,
        "regions_sampled": 512,
        "norm": "FrozenBN" if weighted and not grey_encoder else "GN",
        "frozen_stages": 2 if weighted else 0,
        "encoder_rate": 0.3 if weighted else 1.0,
        "padding": "symmetric",
        "pixel_mean": PHOTOGRAPHS,
        "pixel_std": UNSCALED if raw else SPREAD,
        "anchors": ZOO_ANCHORS,
    }
    chosen = {k: v for k, v in given.items() if getattr(options, k) is None}
    return options.model_copy(update=chosen)


#: The zoo's anchors, made for photographs of 800 px.
ZOO_ANCHORS = (32.0, 64.0, 128.0, 256.0, 512.0)
