"""How a run of ``predict`` looks at images: everything that its results depend on, and what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from organoseg.core import UsageError
from organoseg.models.folder import ModelDescription

ZMode = Literal["focus", "max", "min", "each"]
Z_MODES: tuple[str, ...] = get_args(ZMode)


class PredictSettings(BaseModel):
    """Options of a run; it travels to workers as a pickle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str | None = Field(None, description="number from 0, or name; None: the only one")
    z: ZMode = Field("focus", description="what is seen of a stack of focus planes")
    pixel_size: float | None = Field(
        None, gt=0, description="µm per px of images that do not say it themselves"
    )
    grammar: str = Field("auto", description="how file names tell plate, well, time, channel, z")
    absent: Literal["refuse", "fill"] = Field(
        "refuse", description="what a zarr chunk that is not there means"
    )
    score_threshold: float | None = Field(None, ge=0, le=1)
    thorough: bool = False
    tile: int = Field(1536, ge=256, multiple_of=32, description="largest side (px) seen at once")
    overlap: int = Field(384, ge=64, multiple_of=32, description="px that neighbouring tiles share")
    device: str | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    batch: int | None = Field(
        None, ge=1, description="images of one size seen at once; None: 8 on a GPU, else 1"
    )
    write: tuple[str, ...] | None = Field(None, description="kinds of files; None: the usual ones")

    @staticmethod
    def of(**options: Any) -> PredictSettings:
        """The settings; UsageError where an option cannot be."""
        try:
            made = PredictSettings(**options)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "settings"
            raise UsageError(
                f"{first['msg']}, not {first.get('input')!r}", where=f"--{name.replace('_', '-')}"
            ) from error
        if made.overlap * 2 > made.tile:
            raise UsageError(
                f"tiles of {made.tile} px cannot share {made.overlap} px",
                where="--tile",
                remedy="A tile has to be at least twice as large as the overlap.",
            )
        return made

    def threshold(self, model: ModelDescription) -> float:
        """Scores from here on are reported.

        UsageError where neither the user nor the model says it of a thorough look.
        """
        if self.score_threshold is not None:
            return self.score_threshold
        return model.threshold(self.thorough)

    def shaping(self, model: ModelDescription) -> dict[str, Any]:
        """What the results of a picture depend on, for the run's folder to remember."""
        kept = ("channel", "z", "pixel_size", "grammar", "absent", "thorough", "tile", "overlap")
        return {
            "model": model.identity,
            "score_threshold": self.threshold(model),
            **{name: getattr(self, name) for name in kept},
        }


def settings_file(out: Path) -> Path:
    """Where a folder of results remembers how they were made."""
    return out / "predict.json"
