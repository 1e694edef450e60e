"""The front matter of a data card: the facts that programs read."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Stands in a card wherever only a person knows the answer.
BLANK = "FILL IN"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CardFile(_Strict):
    """One file of a set: where it is, and what its bytes must be."""

    name: str = Field(min_length=1, description="its name in the set, unique")
    url: str = Field(min_length=1, description="where it is; relative to the card for a lab's own")
    format: str = Field(pattern="^[a-z]+/[a-z0-9.+-]+$", description="MIME type")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    role: Literal["archive", "coco", "boxes", "other"] = "other"
    note: str = ""


class CardFolder(_Strict):
    """Files of one kind in an archive or beside the card: images, label images."""

    name: str = Field(min_length=1)
    includes: str = Field(min_length=1, description="glob, such as train/*_img.jpg")
    format: str = Field(pattern="^[a-z]+/[a-z0-9.+-]+$")
    inside: str | None = Field(None, description="name of the file that holds them")
    role: Literal["images", "labels"] = "images"


class CardFacts(_Strict):
    """The front matter: the fields of a dataset card on the Hugging Face hub, and ours.

    A field that a person has yet to fill in holds `BLANK`; one that nobody knows is None or says so.
    """

    # What the hub reads.
    pretty_name: str
    license: str = Field(
        description="the hub's identifier: bsd-3-clause, cc-by-4.0, other, unknown"
    )
    license_name: str | None = None
    license_link: str | None = None
    task_categories: tuple[str, ...] = ("image-segmentation",)
    task_ids: tuple[str, ...] = ("instance-segmentation",)
    size_categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    # What organoseg reads.
    name: str = Field(min_length=1)
    version: str = "1.0.0"
    homepage: str | None = None
    date_published: str | None = Field(None, pattern=rf"^(\d{{4}}(-\d{{2}}(-\d{{2}})?)?|{BLANK})$")
    creators: tuple[str, ...] = ()
    cite_as: str | None = None
    modality: str
    subject: str
    annotation: str
    annotation_kind: Literal["masks", "boxes", "label images", "none"] = "masks"
    overlaps: bool | None = Field(None, description="whether masks may overlap (amodal); None: n/a")
    classes: tuple[str, ...] = ("organoid",)
    images: dict[str, int] | str = Field(description="by split, or words")
    image_sizes: tuple[str, ...] = ()
    instances: dict[str, int] | str | None = None
    pixel_size_um: float | str | None = None
    split_unit: str | None = Field(None, description="what must stay on one side: well, plate")
    redistribution: bool | str = Field(description="whether the licence lets you pass it on")
    in_repository: bool | str = False
    files: tuple[CardFile, ...] = ()
    folders: tuple[CardFolder, ...] = ()

    def blanks(self) -> list[str]:
        """Names of the fields that a person has yet to fill in."""
        return [name for name, value in self if _has_blank(value)]


def _has_blank(value: Any) -> bool:
    if isinstance(value, str):
        return BLANK in value
    if isinstance(value, dict):
        return any(_has_blank(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_has_blank(item) for item in value)
    return False
