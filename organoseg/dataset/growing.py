"""A data set that grows by what people corrected, without ever letting the held-out side into training.

    labels.json       COCO; what nobody looked at is a crowd region
    images/           copies of the planes, named after group, name and pixel hash
    split.json        side and group of every image; it only grows
    subsets.json      "train" and "validation", as recipes name them (FILE#train)
    provenance.jsonl  a line an image and a line an organoid: who said so, when, on whose proposal

Each file is replaced whole, `labels.json` after those that explain it. Growing is repeatable: what a kill left half
done is finished by doing it again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from organoseg.core import (
    DataError,
    Image,
    Instances,
    Mask,
    UsageError,
    pixel_hash,
    read_json,
    write_json,
    write_text,
)
from organoseg.core.coding import mask_to_rle
from organoseg.dataset.groups import group_key
from organoseg.dataset.labelled import LabelledImage
from organoseg.dataset.splits import Side, Split
from organoseg.io.coco_json import parse_coco_instances
from organoseg.io.instances_json import write_instances
from organoseg.io.plane_tiff import write_plane

LABELS, IMAGES, SPLIT, SUBSETS, PROVENANCE = (
    "labels.json",
    "images",
    "split.json",
    "subsets.json",
    "provenance.jsonl",
)


@dataclass(frozen=True, eq=False)
class Addition:
    """One reviewed image of one plane.

    origin: which review it comes from; only that one may change it later. facts: of the image; organoids: facts of each
    organoid by its id. Both are plain JSON.
    """

    item: LabelledImage
    origin: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    organoids: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Growth:
    """What happened, by file name in the data set: refused ones by their own name, with the reason.

    resting: images of a held-out group that are outlined only in part; they neither train nor measure until they are
    complete.
    """

    added: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    resting: tuple[str, ...]
    train: int
    validation: int


class HeldOut:
    """Images that must never be trained on: a test set, known by its pixels and by its groups."""

    def __init__(self, images: Iterable[Image] = ()) -> None:
        self.identities: dict[str, str] = {}
        self.groups: set[str] = set()
        for image in images:
            self.identities[pixel_hash(image.plane())] = image.name
            if image.group:
                self.groups.add(image.group)

    def reason(self, image: Image) -> str:
        """Why an image must stay out; "" when it may come in."""
        twin = self.identities.get(pixel_hash(image.plane()))
        if twin is not None:
            return f"it is the held-out image {twin}"
        if image.group and image.group in self.groups:
            return f"its group {image.group!r} is held out"
        return ""


def grow(
    folder: Path,
    additions: Iterable[Addition],
    classes: Mapping[int, str],
    validation: float = 0.2,
    held_out: HeldOut | None = None,
) -> Growth:
    """Add reviewed images to the data set in ``folder``, which is made when absent.

    An image inherits the side of its group. A new group goes where images are lacking: ``validation`` is the share that
    is to be held out (0: none). An image outlined only in part never opens a validation group. Refused, and told: a
    held-out image or group, and a picture that is there already from another origin (known by its pixels). Adding the
    same again changes no file.

    Raises
    ------
    DataError
        The data set is damaged, or a class has another name there.
    UsageError
        ``validation`` is not a share below 1.
    RunError
        A file cannot be written.
    """
    if not 0 <= validation < 1:
        raise UsageError(f"The share of held-out images {validation} is not between 0 and 1")
    store = _Store.load(Path(folder), classes)
    results: dict[str, list[str]] = {"added": [], "updated": [], "unchanged": []}
    refused = []
    for addition in additions:
        image = addition.item.image
        reason = held_out.reason(image) if held_out else ""
        reason = reason or store.conflict(addition)
        if reason:
            refused.append((image.name, reason))
        else:
            result, name = store.take(addition, validation)
            results[result].append(name)
    if results["added"] or results["updated"]:
        store.save()
    subsets = store.save_subsets()
    resting = [n for n in store.split_names("validation") if n in store.ignored]
    return Growth(
        **{key: tuple(names) for key, names in results.items()},
        refused=tuple(refused),
        resting=tuple(resting),
        train=len(subsets["train"]),
        validation=len(subsets["validation"]),
    )


@dataclass
class _Store:
    """The data set in memory; `rows`: the image lines of the provenance, `organoids`: the others, by image."""

    folder: Path
    classes: dict[int, str]
    instances: dict[str, Instances] = field(default_factory=dict)
    ignored: dict[str, Mask] = field(default_factory=dict)
    sides: dict[str, Side] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    organoids: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    twins: dict[str, str] = field(default_factory=dict)
    group_sides: dict[str, Side] = field(default_factory=dict)

    # -- files ------------------------------------------------------------------------------------

    @classmethod
    def load(cls, folder: Path, classes: Mapping[int, str]) -> _Store:
        store = cls(folder, dict(classes))
        if not (folder / LABELS).exists():
            return store
        coco = parse_coco_instances(folder / LABELS, crowds=True)
        store.instances, store.ignored = coco.instances, coco.ignored
        store._join_classes(coco.categories)
        store._read_provenance()
        split = Split.load(folder / SPLIT)
        store.sides, store.groups = dict(split.sides), dict(split.groups)
        if not store.instances.keys() <= store.rows.keys() & store.sides.keys():
            raise DataError(
                f"Images of {LABELS} lack their lines in {PROVENANCE} or {SPLIT}",
                where=folder,
                remedy="Restore the folder from a backup, or export into a new one.",
            )
        # Lines of images that a kill kept out of labels.json do not count; their sides are decided for good.
        store.rows = {name: store.rows[name] for name in store.instances}
        store.twins = {row["identity"]: name for name, row in store.rows.items()}
        store.group_sides = {store.groups[name]: side for name, side in store.sides.items()}
        return store

    def _join_classes(self, known: Mapping[int, str]) -> None:
        for number, name in known.items():
            if self.classes.setdefault(number, name) != name:
                raise DataError(
                    f"Class {number} is {name!r} in the data set but {self.classes[number]!r} in the review",
                    where=self.folder / LABELS,
                    remedy="Export into another folder.",
                )

    def _read_provenance(self) -> None:
        path = self.folder / PROVENANCE
        try:
            lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            for line in lines:
                if "annotation" in line:
                    self.organoids.setdefault(str(line["file"]), []).append(line)
                else:
                    self.rows[str(line["file"])] = {
                        **line,
                        "identity": line["identity"],
                        "origin": line["origin"],
                    }
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"The data set's {PROVENANCE} is missing or damaged",
                where=path,
                remedy="Restore it from a backup, or export into a new folder.",
            ) from error

    def save(self) -> None:
        """Everything but the images, which are there by now, and the subsets."""
        names = list(self.instances)
        lines = [
            line for name in names for line in (self.rows[name], *self.organoids.get(name, ()))
        ]
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
        write_text(self.folder / PROVENANCE, text)
        Split(self.sides, self.groups).save(self.folder / SPLIT)
        write_instances(
            self.folder / LABELS, list(self.instances.items()), self.classes, self.ignored
        )

    def save_subsets(self) -> dict[str, list[str]]:
        """The images of each side that can be used, and the file that says so; what is measured must be complete."""
        held = [n for n in self.split_names("validation") if n not in self.ignored]
        subsets = {"train": self.split_names("train"), "validation": held}
        path = self.folder / SUBSETS
        if self.instances and not (path.exists() and read_json(path) == subsets):
            write_json(path, subsets)
        return subsets

    # -- growing ----------------------------------------------------------------------------------

    def conflict(self, addition: Addition) -> str:
        """Why this picture cannot come in; "" when it can."""
        twin = self.twins.get(pixel_hash(addition.item.image.plane()))
        if twin is None:
            return ""
        if self.rows[twin]["origin"] != addition.origin:
            return f"the same picture is in the data set already, as {twin}, from another review"
        if self.groups[twin] != group_key(addition.item.image):
            return f"the same picture is in the data set already, as {twin} of group {self.groups[twin]!r}"
        return ""

    def take(self, addition: Addition, validation: float) -> tuple[str, str]:
        """("added" | "updated" | "unchanged", file name)."""
        image = addition.item.image
        identity = pixel_hash(image.plane())
        known = self.twins.get(identity)
        name = known or file_name(image)
        if known and self._same(name, addition):
            return "unchanged", name
        if not known:
            self.groups[name] = group = group_key(image)
            self.sides[name] = self.group_sides.setdefault(group, self._side(addition, validation))
            self.twins[identity] = name
        path = self.folder / IMAGES / name
        if not path.exists():
            write_plane(path, image)
        self._put(name, addition)
        return ("updated" if known else "added"), name

    def _same(self, name: str, addition: Addition) -> bool:
        old = _content(self.instances[name], self.ignored.get(name))
        return old == _content(addition.item.instances, addition.item.ignored)

    def _put(self, name: str, addition: Addition) -> None:
        item = addition.item
        # Numbers are never used twice, so that a line of the provenance means one organoid for good.
        top = max((r["annotation"] for rows in self.organoids.values() for r in rows), default=0)
        ids = [top + k for k in range(1, len(item.instances) + 1)]
        own = item.instances.ids.tolist()
        self.instances[name] = item.instances.replace(ids=ids)
        self.ignored.pop(name, None)
        if item.ignored is not None:
            self.ignored[name] = item.ignored
        self.rows[name] = {
            **addition.facts,
            "file": name,
            "image": item.image.name,
            "identity": pixel_hash(item.image.plane()),
            "group": item.image.group,
            "origin": addition.origin,
            "complete": item.ignored is None,
        }
        self.organoids[name] = [
            {**addition.organoids.get(number, {}), "file": name, "annotation": new}
            for number, new in zip(own, ids, strict=True)
        ]

    def _side(self, addition: Addition, validation: float) -> Side:
        """Where a group that is new belongs."""
        held = len(self.split_names("validation"))
        lacking = held < validation * (len(self.sides) + 1)
        # The first image trains: a set that only measures teaches nothing.
        if lacking and self.sides and addition.item.ignored is None:
            return "validation"
        return "train"

    def split_names(self, side: Side) -> list[str]:
        """Images of the data set on this side, in order."""
        return [name for name in self.instances if self.sides[name] == side]


def file_name(image: Image) -> str:
    """The file of an image in the data set: its group's folder, its own name, and a part of its pixel hash."""
    stem = re.sub(r"[^\w.-]+", "_", Path(image.name).with_suffix("").as_posix()).strip("._")[-80:]
    group = re.sub(r"[^\w-]+", "_", image.group).strip("_")[:80]
    return f"{group or 'images'}/{stem or 'image'}-{pixel_hash(image.plane())[:12]}.tif"


def _content(instances: Instances, ignored: Mask | None) -> list[Any]:
    """What is compared to tell whether labels changed; ids and scores are no labels."""
    masks = [rle["counts"] for rle in instances.to_rles()]
    region = mask_to_rle(ignored, instances.shape)["counts"] if ignored is not None else None
    return [sorted(zip(masks, instances.classes.tolist(), strict=True)), region]
