"""Import of COCO files: polygons, run lengths, and boxes where the user says so."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from organoseg.core import DataError, Instances
from organoseg.core.coding import mask_to_rle
from organoseg.core.files import read_json
from organoseg.dataset.sources.found import (
    BOXES,
    FROM_BOX,
    NO_IMAGE,
    WRONG_SIZE,
    Content,
    Entry,
    Survey,
)
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree, side_of, side_of_file
from organoseg.io.coco_json import CocoInstances, coco_instances
from organoseg.io.drawn import Box, rasterise


class CocoImporter:
    """One JSON file for many images. An image without an annotation has no labels: such files list every image."""

    name = "coco"
    title = "COCO"

    def files(self, tree: Tree, rules: Rules) -> Sequence[Path]:
        """JSON files with images and annotations."""
        return tree.json_of("coco")

    def survey(self, tree: Tree, files: Sequence[Path], rules: Rules) -> Survey:
        """The images of all files; one that two files list is a fault."""
        survey = Survey()
        taken: dict[Path, Path] = {}
        for file in files:
            found = _read(tree, file, rules, survey)
            if found is not None:
                _entries(tree, file, found, taken, rules, survey)
        used = {*taken, *(path for _, path, _ in survey.unlabelled)}
        rest, elsewhere = tree.unlabelled(used)
        survey.unlabelled += [(tree.name_of(p), p, side_of(tree.name_of(p))) for p in rest]
        if elsewhere:
            survey.notes.append(f"{elsewhere} images lie in folders that no label is about")
        return survey


def _read(tree: Tree, file: Path, rules: Rules, survey: Survey) -> CocoInstances | None:
    try:
        data = read_json(file)
        data = {**data, "annotations": _without_boxes(data, rules, survey, tree.short(file))}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = coco_instances(data, file, strict=not rules.repair, ignore_regions=True)
        survey.mended += [(str(w.message).partition(": ")[2], tree.short(file)) for w in said]
    except DataError as error:
        survey.faults.add(error.what, tree.short(file))
        return None
    return found


def _without_boxes(data: dict[str, Any], rules: Rules, survey: Survey, file: str) -> list[Any]:
    """The annotations, with ellipses for boxes, without boxes, or with a fault that counts them."""
    kept: list[Any] = []
    boxes: list[Any] = []
    for annotation in data["annotations"]:
        bare = isinstance(annotation, dict) and not annotation.get("segmentation")
        (boxes if bare and annotation.get("bbox") else kept).append(annotation)
    if boxes and rules.boxes == "refuse":
        survey.faults.add(BOXES, f"{len(boxes)} of {len(data['annotations'])} in {file}")
    elif boxes and rules.boxes == "leave-out":
        survey.notes.append(f"{len(boxes)} boxes were left out ({file})")
    elif boxes:
        sizes = {i.get("id"): i for i in data["images"] if isinstance(i, dict)}
        kept += [_as_ellipse(annotation, sizes) for annotation in boxes]
    return kept


def _as_ellipse(annotation: dict[str, Any], images: dict[Any, Any]) -> dict[str, Any]:
    who = f"annotation {annotation.get('id')}"
    try:
        x, y, width, height = (float(v) for v in annotation["bbox"])
        image = images[annotation["image_id"]]
        size = (int(image["height"]), int(image["width"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{who} has a box that is no four numbers, or no image") from error
    decoded = rasterise(Box(y, x, y + height, x + width), size)
    if decoded.mask is None:
        raise DataError(f"{who}: {', '.join(decoded.faults)}")
    rle = mask_to_rle(decoded.mask, size)
    return {**annotation, "segmentation": rle, "source": FROM_BOX}


def _entries(
    tree: Tree,
    file: Path,
    found: CocoInstances,
    taken: dict[Path, Path],
    rules: Rules,
    survey: Survey,
) -> None:
    side = side_of_file(tree.short(file))
    for name, instances in found.instances.items():
        try:
            image = tree.find(name, file.parent, side)
        except DataError as error:
            survey.faults.add("image name that several files have", error.what)
            continue
        if image is None:
            survey.faults.add(NO_IMAGE, f"{name} ({tree.short(file)})")
            continue
        if image in taken:
            who = f"{name} ({tree.short(taken[image])} and {tree.short(file)})"
            survey.faults.add("image that is listed twice", who)
            continue
        own = tree.name_of(image)
        stated = side if side is not None else side_of(own)
        ignored = found.ignored.get(name)
        if not len(instances) and ignored is None:
            survey.unlabelled.append((own, image, stated))
            continue
        taken[image] = file
        load = _loader(instances, ignored, found.categories, rules)
        survey.entries.append(Entry(own, image, (file,), load, stated))


def _loader(
    instances: Instances, ignored: Instances | None, classes: dict[int, str], rules: Rules
) -> Callable[[tuple[int, int]], Content]:
    def load(size: tuple[int, int]) -> Content:
        content = Content(size, ignored=ignored)
        if instances.shape != size:
            sizes = [f"{h} x {w}" for h, w in (instances.shape, size)]
            content.faults.append((WRONG_SIZE, f"{sizes[0]}, the image is {sizes[1]}"))
            return content
        for index, mask in enumerate(instances):
            label = classes[int(instances.classes[index])]
            if label in rules.skip_classes:
                content.skipped[f"class {label}"] += 1
                continue
            content.add(mask, label, instances.sources[index])
        return content

    return load
