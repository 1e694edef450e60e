"""What the user wants of an import: what to do where a source leaves something open."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from organoseg.core import UsageError

Boxes = Literal["refuse", "ellipse", "leave-out"]
Unlabelled = Literal["refuse", "leave-out", "empty"]
Sides = Literal["auto", "folders", "groups", "train"]


@dataclass(frozen=True)
class Rules:
    """Every default refuses what would have to be guessed.

    images: where the images lie, when not with the labels. image_pattern, label_pattern: file names of image and label
    image, ``*`` standing for what both share. boxes: a box is no mask; "ellipse" takes the ellipse in it, marked as
    such. pieces: label images of one value are foreground, and each connected piece of it is taken for an organoid.
    unlabelled: images of labelled folders that have no labels; "empty" says that there is nothing on them. repair:
    outlines are cut at the image's edge, those that cover no pixel left out, pictures that stand on two sides taken
    out of training; each is counted. classes: names, in the order of their ids; others are faults. skip_classes: names
    whose drawings are no organoids. one_class: all are organoids. sides: train, validation and test by the source's
    own folders, by group, or all train; "auto" takes folders where there are some, else groups. group_pattern: a
    regular expression whose parentheses find the group in a name. validation, test: shares, where groups are dealt.
    """

    images: Path | None = None
    image_pattern: str | None = None
    label_pattern: str | None = None
    boxes: Boxes = "refuse"
    pieces: bool = False
    unlabelled: Unlabelled = "refuse"
    repair: bool = False
    classes: tuple[str, ...] = ()
    skip_classes: tuple[str, ...] = ()
    one_class: bool = False
    sides: Sides = "auto"
    group_pattern: str | None = None
    validation: float = 0.2
    test: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.image_pattern is None) != (self.label_pattern is None):
            raise UsageError(
                "A pattern for images needs one for label images, and the other way round",
                remedy="Give both, such as '*_img.jpg' and '*_masks.png'.",
            )
        shares = (self.validation, self.test)
        if min(shares) < 0 or sum(shares) >= 1:
            raise UsageError(
                f"The shares of validation ({self.validation}) and test ({self.test}) leave nothing to train on",
                remedy="Give shares from 0 on whose sum is below 1.",
            )
        if self.one_class and self.classes:
            raise UsageError("Either all organoids are of one class, or the classes are named")

    def as_json(self) -> dict[str, Any]:
        """For the record of the import."""
        return {**asdict(self), "images": None if self.images is None else str(self.images)}
