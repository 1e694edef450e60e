"""What a run of `predict` is asked for; checked once, then trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from organoseg.archive.store_planes import Absent
from organoseg.core import UsageError

FocusMode = Literal["focus", "max", "min", "each"]


@dataclass(frozen=True)
class PredictSettings:
    """How images are read and looked at; what decides the masks, and nothing else.

    Attributes
    ----------
    score_threshold
        Organoids with a lower score are left out; None: what the model says.
    thorough
        Look at each image four times, turned and enlarged.
    channel
        The channel that is segmented: its number from 0, or the text that file names have for it; None: the only one.
    z
        What is seen of a z-stack: its sharpest plane, the maximum or minimum over all, or each plane by itself.
    pixel_size
        µm per px of all images, whatever their files say; None: what they say.
    grammar
        How file names tell plate, well, site, time, channel and z (`organoseg.archive.grammar`).
    absent
        What a chunk of a zarr store means that is not there: a loss, or pixels of the fill value.
    raw_masks
        Leave masks as the network draws them: with stray pieces and holes (`organoseg.inference.tidy`).
    tile, overlap, batch
        As `organoseg.inference.image.Look` has them; 0: as usual.

    Raises UsageError for what is impossible.
    """

    score_threshold: float | None = None
    thorough: bool = False
    raw_masks: bool = False
    channel: str | None = None
    z: FocusMode = "focus"
    pixel_size: float | None = None
    grammar: str = "auto"
    absent: Absent = "refuse"
    tile: int = 0
    overlap: int = 256
    batch: int = 1

    def __post_init__(self) -> None:
        from organoseg.archive.grammar import Grammar
        from organoseg.inference.image import Look

        if self.z not in get_args(FocusMode):
            raise UsageError(
                f"No way to see a z-stack is called {self.z!r}",
                where="--z",
                remedy=f"Give one of {', '.join(get_args(FocusMode))}.",
            )
        if self.absent not in get_args(Absent):
            raise UsageError(
                f"Absent chunks cannot be {self.absent!r}",
                where="--absent",
                remedy=f"Give one of {', '.join(get_args(Absent))}.",
            )
        if self.pixel_size is not None and not 0 < self.pixel_size < 1e4:
            raise UsageError(
                f"A pixel of {self.pixel_size} µm",
                where="--pixel-size",
                remedy="Give µm per pixel.",
            )
        if self.score_threshold is not None and not 0 <= self.score_threshold <= 1:
            raise UsageError(
                f"A score of {self.score_threshold}",
                where="--score-threshold",
                remedy="Give a number from 0 to 1.",
            )
        Grammar.of(self.grammar)
        if self.tile:
            Look(self.tile, self.overlap, self.batch)

    def lock(self, model: str, threshold: float) -> Mapping[str, Any]:
        """What must be the same for all results of a folder."""
        return {"model": model, **asdict(self), "score_threshold": threshold}
