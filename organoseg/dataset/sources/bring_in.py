"""The import itself: a labelled folder that training takes, whole or not at all.

OUT/labels.json    COCO, overlaps kept
OUT/images/        copies of the images, byte by byte
OUT/split.json     the side of every image and its group
OUT/subsets.json   names by side, for recipes: subsets.json#train
OUT/import.json    where every image and label came from, what was left out and what was repaired
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from organoseg.core import DataError, Image, Instances, UsageError, file_hash, write_json
from organoseg.core.folders import atomic_folder
from organoseg.dataset.sources.found import (
    CLASS,
    FROM_BOX,
    NO_LABELS,
    Content,
    Entry,
    Survey,
    some,
)
from organoseg.dataset.sources.importers import recognised
from organoseg.dataset.sources.opening import opened_tree, origin_of
from organoseg.dataset.sources.record import ImageRecord, ImportReport
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.sides import dealt, grouped
from organoseg.dataset.sources.tree import Tree
from organoseg.dataset.splits import SIDES
from organoseg.io.coco_models import MAX_SIDE
from organoseg.io.formats import read_image
from organoseg.io.instances_json import write_instances

LABELS, IMAGES, SPLIT, SUBSETS = "labels.json", "images", "split.json", "subsets.json"
DEFAULT_CLASS = "organoid"
_CHUNK = 1 << 20

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class _Taken:
    """One image whose labels were read without a fault."""

    entry: Entry
    content: Content
    key: str
    group: str


def import_source(
    source: Path | str,
    out: Path | str,
    rules: Rules | None = None,
    form: str = "auto",
    progress: Progress | None = None,
    below: str = "",
) -> ImportReport:
    """Bring labelled images of other programs into the new folder ``out``.

    source: a file of labels, a folder, or a zip of one. form: one of `importers.IMPORTERS`, or "auto". progress: called
    with (images read, images). below: only the folder of this name in the source.

    Raises UsageError when ``out`` is taken or a rule does not fit; DataError, naming every fault by kind, file and
    reason, when something in the source is not as it must be: there is nothing at ``out`` then; RunError when the disk
    does not take it.
    """
    source, out, rules = Path(source), Path(out), rules or Rules()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            "There is something there already", where=out, remedy="Give --out a new folder."
        )
    with opened_tree(source, out.parent, rules, below) as tree:
        importer, files = recognised(tree, rules, form)
        survey = importer.survey(tree, files, rules)
        _say_json(tree, importer.name, survey)
        report = ImportReport(
            out, importer.name, importer.title, origin_of(source), rules.as_json()
        )
        with atomic_folder(out) as made:
            taken = _read_all(tree, survey, rules, report, progress)
            _write(made, tree, taken, rules, report, survey)
    return report


def _read_all(
    tree: Tree,
    survey: Survey,
    rules: Rules,
    report: ImportReport,
    progress: Progress | None,
) -> list[_Taken]:
    """Everything read; DataError with all the faults when there are some."""
    faults = survey.faults
    for fault, who in survey.mended:
        report.repair(fault, who)
    report.notes += survey.notes
    entries = [*survey.entries, *_without_labels(survey, rules, report)]
    names = Counter(entry.name.casefold() for entry in entries)
    group_of = grouped(tree, rules)
    taken = []
    for done, entry in enumerate(sorted(entries, key=lambda e: e.name), start=1):
        if names[entry.name.casefold()] > 1:
            faults.add("names that differ in capitals only", entry.name)
            continue
        try:
            image = _plane(entry.image)
            content = entry.load(image.shape)
            taken.append(_Taken(entry, content, image.identity, group_of(entry.name)))
        except DataError as error:
            # Readers name the file that they stumbled over, which here may be one that was unpacked.
            faults.add(error.what, entry.name)
            continue
        for kind, who in content.faults:
            faults.add(kind, f"{entry.name} ({who})")
        for kind, who in content.mended:
            report.repair(kind, f"{entry.name} ({who})")
        for kind, count in content.skipped.items():
            for _ in range(count):
                report.leave_out(f"{kind}, which is no organoid", entry.name)
        if progress is not None:
            progress(done, len(entries))
    _check_classes(taken, rules, survey)
    faults.settle(tree.source)
    _say_doubts(taken, tree, report)
    if not taken:
        raise DataError("There is no labelled image here", where=tree.source)
    return taken


def _say_json(tree: Tree, importer: str, survey: Survey) -> None:
    """JSON files that cannot be read may have been labels; those of something else are said."""
    if importer in ("coco", "labelme", "qupath", "boxes"):
        for path in tree.json_of("broken"):
            survey.faults.add(tree.json_facts(path).trouble, tree.short(path))
        others = [tree.short(path) for path in tree.json_of("other")]
        if others:
            survey.notes.append(f"{len(others)} JSON files are no labels: {some(others)}")


def _say_doubts(taken: list[_Taken], tree: Tree, report: ImportReport) -> None:
    drawn = [item.content for item in taken if item.content.masks]
    if len(drawn) > 1 and all(content.one_number for content in drawn):
        report.notes.append(
            "every label image has one number only: if they show foreground, organoids that touch became one"
        )
    scattered = sum(content.scattered for content in drawn)
    if scattered:
        report.notes.append(
            f"{scattered} organoids of label images lie in separate pieces: are their numbers those of classes?"
        )
    if tree.by_name_alone:
        report.notes.append(
            f"{len(tree.by_name_alone)} images were found by their file name alone, their folders are called "
            f"otherwise than the labels say: {some(tree.by_name_alone)}"
        )


def _without_labels(survey: Survey, rules: Rules, report: ImportReport) -> list[Entry]:
    found = []
    for name, path, side in survey.unlabelled:
        if rules.unlabelled == "refuse":
            survey.faults.add(NO_LABELS, name)
        elif rules.unlabelled == "leave-out":
            report.leave_out(NO_LABELS, name)
        else:
            found.append(Entry(name, path, (), Content, side))
    return found


def _plane(path: Path) -> Image:
    image = read_image(path)
    plane = image.plane()
    if max(plane.shape) > MAX_SIDE:
        raise DataError(f"The image is larger than {MAX_SIDE} px", where=path)
    if plane.dtype.kind == "f" and not np.isfinite(plane).all():
        raise DataError("The image holds NaN or infinite pixels", where=path)
    return image


def _names(taken: list[_Taken]) -> list[str]:
    """Names of classes in the order in which they first occur."""
    return list(dict.fromkeys(label for t in taken for label in t.content.labels if label))


def _check_classes(taken: list[_Taken], rules: Rules, survey: Survey) -> None:
    """Classes are never guessed: what the user did not name is a fault, and so is half of the organoids having none."""
    if rules.one_class:
        return
    several = len(_names(taken)) > 1
    for item in taken:
        unknown: Counter[str] = Counter()
        for label in item.content.labels:
            if rules.classes and label not in rules.classes and (label or len(rules.classes) > 1):
                unknown[label or "none"] += 1
            elif not rules.classes and several and not label:
                unknown["none"] += 1
        for label, count in unknown.items():
            survey.faults.add(CLASS, f"{label} ({count} in {item.entry.name})")


def _classes(taken: list[_Taken], rules: Rules, report: ImportReport) -> dict[str, int]:
    """The id of every class name, "" being the name of those that have none."""
    names = _names(taken)
    skipped = {kind for t in taken for kind in t.content.skipped}
    unused = [name for name in rules.skip_classes if f"class {name}" not in skipped]
    if unused:
        report.notes.append(f"nothing is called {', '.join(unused)}, which was to be skipped")
    if rules.one_class:
        report.classes = {1: DEFAULT_CLASS}
        if len(names) > 1:
            report.notes.append(f"classes {', '.join(names)} became one, {DEFAULT_CLASS}")
        return dict.fromkeys([*names, ""], 1)
    chosen = list(rules.classes) or names or [DEFAULT_CLASS]
    report.classes = dict(enumerate(chosen, start=1))
    ids = {name: number for number, name in report.classes.items()}
    return {**ids, "": ids.get("", 1)}


def _write(
    made: Path, tree: Tree, taken: list[_Taken], rules: Rules, report: ImportReport, survey: Survey
) -> None:
    split, gone = dealt(taken, rules, report, survey)
    survey.faults.settle(tree.source)
    taken = [item for item in taken if item.entry.name not in gone]
    ids = _classes(taken, rules, report)
    hashes: dict[Path, str] = {}

    def items() -> Iterator[tuple[str, Instances]]:
        for item in taken:
            instances = _instances(item.content, ids)
            side = split.sides[item.entry.name]
            report.images[item.entry.name] = _record(made, tree, item, hashes, side)
            report.organoids.update(report.classes[c] for c in instances.classes.tolist())
            report.empty += not len(instances)
            yield item.entry.name, instances

    ignored = {t.entry.name: t.content.ignored for t in taken if t.content.ignored is not None}
    write_instances(made / LABELS, items(), report.classes, ignored)
    split.save(made / SPLIT)
    subsets = {side: split.names(side) for side in SIDES}
    write_json(made / SUBSETS, {side: names for side, names in subsets.items() if names})
    report.sides.update({side: len(names) for side, names in subsets.items() if names})
    boxes = sum(record.sources.get(FROM_BOX, 0) for record in report.images.values())
    if boxes:
        report.notes.append(
            f"{boxes} masks are ellipses in boxes, a guess at the organoid; labels.json marks them "
            f'"source": "{FROM_BOX}"'
        )
    report.save(made)


def _instances(content: Content, ids: dict[str, int]) -> Instances:
    return Instances.from_masks(
        content.size,
        content.masks,
        classes=[ids[label] for label in content.labels],
        sources=content.sources,
    )


def _record(
    made: Path, tree: Tree, item: _Taken, hashes: dict[Path, str], side: str
) -> ImageRecord:
    for file in item.entry.files:
        if file not in hashes:
            hashes[file] = file_hash(file)
    return ImageRecord(
        item.entry.name,
        _copy(item.entry.image, made / IMAGES / item.entry.name),
        {tree.short(file): hashes[file] for file in item.entry.files},
        item.key,
        item.group,
        side,
        len(item.content.masks),
        dict(Counter(source for source in item.content.sources if source)),
    )


def _copy(image: Path, target: Path) -> str:
    """Copy a file and return the sha256 of what was copied; DataError when it cannot be read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    try:
        source = image.open("rb")
    except OSError as error:
        raise DataError(f"Cannot read the image: {error.strerror}", where=image) from error
    with source, target.open("xb") as sink:
        while block := source.read(_CHUNK):
            digest.update(block)
            sink.write(block)
    return digest.hexdigest()
