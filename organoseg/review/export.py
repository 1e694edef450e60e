"""What was reviewed, back into a data set that training reads.

DATASET/labels.json       COCO, overlaps kept; where nobody looked is an ignore region
DATASET/images/           copies of the images
DATASET/split.json        the side of every group, decided once
DATASET/subsets.json      names by side, for recipes: subsets.json#train
DATASET/provenance.json   for each image and organoid: who, when, which model, what changed
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from organoseg.core import DataError, Instances, OrganosegError, UsageError, pixel_hash
from organoseg.dataset import load_coco
from organoseg.dataset.groups import group_key
from organoseg.review.dataset_folder import DatasetFolder, ImageFacts, deal
from organoseg.review.lock import ProjectLock
from organoseg.review.pictures import Picture, Reader
from organoseg.review.reviewed import Reviewed, reviewed_image
from organoseg.review.session import ReviewSession


@dataclass
class ExportReport:
    """Names of images by what became of them; ``refused`` with the reason. notes: what else a person should know."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the data set is another than before."""
        return bool(self.added or self.updated or self.removed)


@dataclass(frozen=True)
class _HeldOut:
    """Pictures and groups that must never be trained on."""

    keys: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


def export_project(
    project: ReviewSession | Path | str,
    dataset: Path | str,
    *,
    validation: float = 0.2,
    held_out: tuple[Path, Path] | None = None,
) -> ExportReport:
    """Write everything reviewed in a project into the data set in folder ``dataset`` (made when absent).

    project: its folder, or an open session. validation: share of *new* groups dealt to validation; known groups keep
    their side. held_out: (annotations, folder of images) of a test set whose pictures and groups are refused.
    Exporting again adds nothing: images whose review went on are updated, those whose review was taken back removed.

    Raises UsageError for a share outside 0 to 1 or a data set that another export is writing; DataError when the
    project, the data set or the test set is damaged; RunError when the disk does not take it. An image that cannot be
    read, or is there already from elsewhere, is refused in the report and costs no other.
    """
    if not 0 <= validation < 1:
        raise UsageError(f"The share of validation {validation} is not between 0 and 1")
    if isinstance(project, ReviewSession):
        return _export(project, Path(dataset), validation, held_out)
    with ReviewSession.open(project, read_only=True) as session:
        return _export(session, Path(dataset), validation, held_out)


def _export(
    session: ReviewSession, path: Path, validation: float, held_out: tuple[Path, Path] | None
) -> ExportReport:
    banned = _held_out(held_out)
    DatasetFolder.open(path)  # a folder of something else is refused before anything is put there
    path.mkdir(parents=True, exist_ok=True)
    lock = ProjectLock(path)
    if not lock.take(session.reviewer):
        raise UsageError(
            f"Another export is writing this data set: {lock.holder()}",
            where=path,
            remedy="Wait until it is done.",
        )
    try:
        return _Export(session, DatasetFolder.open(path), banned, validation).run()
    finally:
        lock.release()


def _held_out(given: tuple[Path, Path] | None) -> _HeldOut:
    if given is None:
        return _HeldOut()
    images = [item.image for item in load_coco(*given)]
    keys = frozenset(pixel_hash(image.plane()) for image in images)
    return _HeldOut(keys, frozenset(group_key(image) for image in images))


class _Export:
    """One export under way."""

    def __init__(
        self, session: ReviewSession, folder: DatasetFolder, banned: _HeldOut, validation: float
    ) -> None:
        self.session, self.folder, self.banned, self.validation = (
            session,
            folder,
            banned,
            validation,
        )
        self.report = ExportReport()
        self._reader = Reader()
        self._mine = {
            facts.key: name
            for name, facts in folder.facts.items()
            if facts.project == session.project.id
        }

    def run(self) -> ExportReport:
        """Do it; nothing is written where nothing changed."""
        self._check_classes()
        reviewed = dict(self._reviewed())
        for key, name in self._mine.items():
            if key not in reviewed:
                self._remove(name)
        ready = [(p, reviewed[p.key]) for p in self._by_chance() if p.key in reviewed]
        ready = [pair for pair in ready if self._may(*pair)]
        groups: dict[str, bool] = {}
        for picture, labels in ready:
            groups[_group(picture)] = groups.get(_group(picture), False) or labels.complete
        sides = deal(self.folder.split, groups, self.validation)
        for picture, labels in ready:
            if sides[_group(picture)] != "train" and not labels.complete:
                self._refuse(
                    picture,
                    "its group is kept for measuring, which needs images that are marked complete",
                )
            else:
                self._put(picture, labels, sides[_group(picture)])
        if self.report.changed:
            self.folder.save()
        self._remark()
        return self.report

    def _reviewed(self) -> Iterator[tuple[str, Reviewed]]:
        session = self.session
        for key in session.history.images:
            labels = reviewed_image(session.project, session.history, key, session.state(key))
            if labels is not None:
                yield key, labels

    def _by_chance(self) -> list[Picture]:
        """Pictures in an order that has nothing to do with the queue, so that no side gets the hard ones."""
        return sorted(
            self.session.project.pictures, key=lambda p: hashlib.sha256(p.key.encode()).digest()
        )

    def _check_classes(self) -> None:
        ours = self.folder.classes
        for number, name in self.session.project.classes.items():
            if ours.setdefault(number, name) != name:
                raise DataError(
                    f"Class {number} is {name!r} in the review but {ours[number]!r} in the data set",
                    where=self.folder.path,
                    remedy="Export into another data set.",
                )

    def _may(self, picture: Picture, labels: Reviewed) -> bool:
        """Whether a picture may be in the data set; says why not."""
        name = self.folder.keys.get(picture.key)
        if picture.key in self.banned.keys:
            return self._refuse(picture, "it is a picture of the test set")
        if _group(picture) in self.banned.groups:
            return self._refuse(picture, f"its group {_group(picture)!r} is in the test set")
        if name is not None and picture.key not in self._mine:
            return self._refuse(picture, f"the data set has this picture already, as {name}")
        if not len(labels.instances) and not labels.complete:
            return self._refuse(
                picture, "no organoid is accepted in it and it is not marked complete"
            )
        return True

    def _refuse(self, picture: Picture, why: str) -> bool:
        self.report.refused.append((picture.name, why))
        name = self._mine.get(picture.key)
        if name is not None and name in self.folder.labels:
            self._remove(name)
        return False

    def _remove(self, name: str) -> None:
        for table in (self.folder.labels, self.folder.unknown, self.folder.facts):
            table.pop(name, None)
        self.report.removed.append(name)

    def _put(self, picture: Picture, labels: Reviewed, side: str) -> None:
        """Add or update one image."""
        folder, name = self.folder, self._mine.get(picture.key)
        if name is not None and folder.facts[name].digest == labels.digest:
            self.report.unchanged.append(name)
            return
        try:
            if name is None:
                name = self._copy(picture, side)
                self.report.added.append(name)
            else:
                self.report.updated.append(name)
        except (OrganosegError, OSError) as error:
            self._refuse(picture, str(error))
            return
        first = folder.next_annotation()
        ids = np.arange(first, first + len(labels.instances))
        folder.labels[name] = labels.instances.replace(ids=ids)
        folder.unknown.pop(name, None)
        if labels.unknown is not None:
            folder.unknown[name] = Instances.from_masks(
                labels.instances.shape,
                [labels.unknown],
                classes=[min(folder.classes)],
                ids=[first + len(ids)],
                sources=["nobody looked"],
            )
        facts = [{"annotation": int(n), **f} for n, f in zip(ids, labels.facts, strict=True)]
        project = self.session.project
        folder.facts[name] = ImageFacts(
            key=picture.key,
            group=_group(picture),
            project=project.id,
            picture=picture.name,
            complete=labels.complete,
            model=project.facts.model,
            digest=labels.digest,
            organoids=tuple(facts),
        )

    def _copy(self, picture: Picture, side: str) -> str:
        folder = self.folder
        name = next(
            (
                n
                for n, g in folder.split.groups.items()
                if g == _group(picture) and self._was(n, picture)
            ),
            None,
        )
        image = self._reader.read(picture)
        name = folder.add_image(name or folder.free_name(picture), picture, image)
        folder.split = folder.split.extended({name: side}, {name: _group(picture)})  # type: ignore[dict-item]
        folder.keys[picture.key] = name
        return name

    def _was(self, name: str, picture: Picture) -> bool:
        """Whether an image that was removed earlier is this picture: it then gets its name back."""
        path = self.folder.path / "images" / name
        if name in self.folder.labels or not path.is_file():
            return False
        from organoseg.io import read_image

        return pixel_hash(read_image(path).plane()) == picture.key

    def _remark(self) -> None:
        sides = {self.folder.split.sides[n] for n in self.folder.labels}
        if self.folder.labels and "validation" not in sides:
            groups = len({self.folder.split.groups[n] for n in self.folder.labels})
            self.report.notes.append(
                f"No image is kept for validation yet: what was exported is of {groups} "
                f"{'group' if groups == 1 else 'groups'} (wells, plates), and a group is never parted."
            )


def _group(picture: Picture) -> str:
    return picture.group or f"image {picture.name}"
