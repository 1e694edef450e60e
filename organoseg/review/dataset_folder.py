"""The data set that reviews fill: its labels, images, sides and where every label came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tifffile
from pydantic import BaseModel, ConfigDict, ValidationError

from organoseg.core import (
    DataError,
    Image,
    Instances,
    atomic_write,
    pixel_hash,
    read_json,
    write_bytes,
    write_json,
)
from organoseg.dataset import Split, load_coco
from organoseg.dataset.groups import group_key
from organoseg.dataset.splits import SIDES, Side
from organoseg.io import read_image, write_instances
from organoseg.io.coco_json import parse_coco_instances
from organoseg.review.lock import HOLDER, LOCK
from organoseg.review.pictures import Picture

LABELS, IMAGES, SPLIT, SUBSETS, PROVENANCE = (
    "labels.json",
    "images",
    "split.json",
    "subsets.json",
    "provenance.json",
)


class ImageFacts(BaseModel):
    """Where one image's labels came from. digest: see `reviewed.Reviewed`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    group: str
    project: str
    picture: str
    complete: bool
    model: str
    digest: str
    organoids: tuple[dict[str, Any], ...] = ()


class _Provenance(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["organoseg provenance 1"]
    images: dict[str, ImageFacts]


@dataclass(eq=False)
class DatasetFolder:
    """What stands in the folder, and what will when `save` is called.

    keys: pixel hash to name, of all images; facts: of those that came from a review.
    """

    path: Path
    labels: dict[str, Instances] = field(default_factory=dict)
    unknown: dict[str, Instances] = field(default_factory=dict)
    classes: dict[int, str] = field(default_factory=dict)
    facts: dict[str, ImageFacts] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    split: Split = field(default_factory=lambda: Split({}, {}))

    @staticmethod
    def open(path: Path) -> DatasetFolder:
        """The folder's content; nothing when it is absent or empty. DataError when it is damaged.

        A folder made by hand (labels.json and images/) is taken too: its images then are training images.
        """
        folder = DatasetFolder(path)
        if not (path / LABELS).exists():
            if path.exists() and any(p.name not in _OURS for p in path.iterdir()):
                raise DataError(
                    "This folder holds something else than a data set",
                    where=path,
                    remedy="Give a new folder, or one with labels.json and images.",
                )
            if (path / SPLIT).exists():
                folder.split = Split.load(path / SPLIT)
            return folder
        coco = parse_coco_instances(path / LABELS, ignore_regions=True)
        folder.labels, folder.unknown = dict(coco.instances), dict(coco.ignored)
        folder.classes = dict(coco.categories)
        stored = _provenance(path / PROVENANCE)
        folder.facts = {name: facts for name, facts in stored.items() if name in folder.labels}
        folder._take_stock()
        return folder

    def _take_stock(self) -> None:
        """Hashes and sides of every image; those that no review wrote down are read."""
        self.keys = {facts.key: name for name, facts in self.facts.items()}
        if (self.path / SPLIT).exists():
            self.split = Split.load(self.path / SPLIT)
        others = [name for name in self.labels if name not in self.facts]
        if not others:
            return
        known = load_coco(self.path / LABELS, self.path / IMAGES, others)
        for item in known:
            self.keys.setdefault(pixel_hash(item.image.plane()), item.name)
        new = [item for item in known if item.name not in self.split.sides]
        self.split = self.split.extended(
            {item.name: self.split.side_of_group(group_key(item.image)) or "train" for item in new},
            {item.name: group_key(item.image) for item in new},
        )

    def free_name(self, picture: Picture) -> str:
        """A file name in ``images`` for a picture that is not there yet."""
        base = re.sub(r"[^\w.=,+-]+", "_", picture.name.rpartition("/")[2]).lstrip(".") or "image"
        stem, dot, suffix = base.rpartition(".")
        plane = re.search(r"\[.*\]$", picture.name) is not None
        if plane or not dot:
            stem, suffix = base, "tif"
        taken = {n.casefold() for n in {*self.labels, *self.split.sides}}
        name = f"{stem}.{suffix}"
        return name if name.casefold() not in taken else f"{stem}-{picture.key[:12]}.{suffix}"

    def add_image(self, name: str, picture: Picture, image: Image) -> str:
        """Copy a picture under ``name`` and return the name it got: a plane of a stack becomes a TIFF.

        DataError when the copy is not the same picture, RunError when it cannot be written.
        """
        if not picture.place.entry and read_image(picture.place.path).pixels.ndim == 2:
            write_bytes(self.path / IMAGES / name, picture.place.path.read_bytes())
        else:
            name = (
                f"{Path(name).stem}.tif" if not name.lower().endswith((".tif", ".tiff")) else name
            )
            _write_plane(self.path / IMAGES / name, image)
        if pixel_hash(read_image(self.path / IMAGES / name).plane()) != picture.key:
            (self.path / IMAGES / name).unlink(missing_ok=True)
            raise DataError("The copy is not the same picture", where=picture.place.path)
        return name

    def next_annotation(self) -> int:
        """A number that no annotation has."""
        tables = [*self.labels.values(), *self.unknown.values()]
        return max((int(t.ids.max()) for t in tables if len(t)), default=0) + 1

    def save(self) -> None:
        """Write everything; each file whole. Images must be there already. RunError when it cannot be written."""
        self.path.mkdir(parents=True, exist_ok=True)
        # In this order a stop leaves nothing that names what is not there.
        self.split.save(self.path / SPLIT, extend=True)
        images = {name: facts.model_dump() for name, facts in sorted(self.facts.items())}
        write_json(self.path / PROVENANCE, {"format": "organoseg provenance 1", "images": images})
        pairs = sorted(self.labels.items())
        write_instances(self.path / LABELS, pairs, self.classes, self.unknown)
        subsets = {side: [n for n, _ in pairs if self.split.sides[n] == side] for side in SIDES}
        write_json(self.path / SUBSETS, {side: names for side, names in subsets.items() if names})


_OURS = {LABELS, IMAGES, SPLIT, SUBSETS, PROVENANCE, LOCK, HOLDER}


def _provenance(path: Path) -> Mapping[str, ImageFacts]:
    if not path.exists():
        return {}
    try:
        return _Provenance.model_validate(read_json(path)).images
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DataError(
            f"The provenance is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=path,
            remedy="Restore the file from a backup.",
        ) from error


def _write_plane(path: Path, image: Image) -> None:
    options: dict[str, Any] = {}
    if image.pixel_size is not None:
        height, width = image.pixel_size
        options = {"resolution": (1e4 / width, 1e4 / height), "resolutionunit": "CENTIMETER"}
    with atomic_write(path) as handle:
        tifffile.imwrite(handle, image.plane(), compression="zlib", **options)


def deal(split: Split, groups: Mapping[str, bool], validation: float) -> dict[str, Side]:
    """A side for every group: known ones keep theirs, new ones keep validation near its share of groups.

    groups: whether one of its images is complete. A group without such an image could not measure, so it trains, as
    does the very first one: a set that only measures teaches nothing.
    """
    sides: dict[str, Side] = {g: split.sides[n] for n, g in split.groups.items()}
    chosen: dict[str, Side] = {}
    for group, measurable in groups.items():
        if group not in sides:
            wanted = int(validation * (len(sides) + 1) + 0.5)
            held = sum(side == "validation" for side in sides.values())
            fits = bool(sides) and measurable and held < wanted
            sides[group] = "validation" if fits else "train"
        chosen[group] = sides[group]
    return chosen
