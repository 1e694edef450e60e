"""COCO files in: labels, predictions and bare results lists as Instances, checked to the letter.

Images are matched by file name. The ids of the organoids are the file's annotation ids; a file
that numbers from 0 (or below) has all of them shifted so that the lowest is 1. Where organoseg wrote
the organoids' numbers within their image beside, and all of an image differ, those are the ids.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from organoseg.core import DataError, Instances, Mask
from organoseg.core.files import read_json
from organoseg.io.coco_masks import decode
from organoseg.io.coco_models import (
    CocoAnnotation,
    CocoFile,
    CocoImage,
    CocoResult,
    parse_file,
    parse_head,
    parse_results_list,
)

_SHOWN = 5


@dataclass(frozen=True)
class CocoInstances:
    """What a COCO file says: Instances by file name (images without organoids too), class names.

    ignored: regions where nobody looked, by file name, for the images that have some.

    first_id: the id in the file of the organoid that has id 1 here. It is 1, but for a file that
    numbers from 0 or below: there it is the lowest id of the file.
    """

    instances: dict[str, Instances]
    categories: dict[int, str]
    first_id: int = 1
    ignored: dict[str, Instances] = field(default_factory=dict)


@dataclass
class _Faults:
    """Faults by kind, each with its offenders, so that one message shows all kinds at once."""

    path: Path
    fatal: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    mended: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def settle(self, remedy: str) -> None:
        """Raise when a fault cannot stand; otherwise say in one line what was mended."""
        if self.fatal:
            text = "; ".join(_listing(kind, who) for kind, who in self.fatal.items())
            raise DataError(text[:1].upper() + text[1:], where=self.path, remedy=remedy)
        if self.mended:
            counts = ", ".join(f"{len(who)} x {kind}" for kind, who in self.mended.items())
            warnings.warn(f"{self.path}: repaired while reading: {counts}", stacklevel=3)


def _listing(kind: str, offenders: Sequence[str]) -> str:
    shown = ", ".join(offenders[:_SHOWN])
    rest = f" and {len(offenders) - _SHOWN} more" if len(offenders) > _SHOWN else ""
    return f"{kind}: {shown}{rest}"


def parse_coco_instances(
    path: Path,
    *,
    strict: bool = True,
    names: Sequence[str] | None = None,
    ignore_regions: bool = False,
) -> CocoInstances:
    """The organoids of every image (or of ``names``, in that order) of a COCO instances file.

    Raises DataError for: not JSON, not COCO, duplicate image ids, file names, annotation or
    category ids, annotations of an unknown image or category, crowd regions, names that the file
    lacks, empty or malformed or out-of-bounds polygons, masks without a pixel. With
    ``strict=False`` polygons are clipped to the image and empty masks left out, with a warning
    that counts both. Regions to ignore (``"iscrowd": 1, "ignore": 1``) are refused like crowds, unless
    ``ignore_regions`` says that the caller minds them.
    """
    path = Path(path)
    return coco_instances(
        read_json(path), path, strict=strict, names=names, ignore_regions=ignore_regions
    )


def coco_instances(
    data: Any,
    path: Path,
    *,
    strict: bool = True,
    names: Sequence[str] | None = None,
    ignore_regions: bool = False,
) -> CocoInstances:
    """As `parse_coco_instances`, for the content ``data`` of the file at ``path``, which is read already."""
    coco = parse_file(data, path)
    _check_links(coco, path, ignore_regions)
    images = _chosen_images(coco.images, names, path)
    by_image = _by_image(a for a in coco.annotations if not a.is_region)
    regions = _by_image(a for a in coco.annotations if a.is_region)
    shift = max(0, 1 - min((a.id for a in coco.annotations), default=1))
    faults = _Faults(path)
    result = {}
    for image in images:
        result[image.file_name] = _image_instances(
            image, by_image.get(image.id, []), faults, strict, shift
        )
    ignored = {
        image.file_name: _image_instances(image, regions[image.id], faults, strict, shift)
        for image in images
        if image.id in regions
    }
    faults.settle("Mend them in the labelling tool, or read with strict=False to repair.")
    classes = {c.id: c.name for c in coco.categories}
    return CocoInstances(result, classes, first_id=1 - shift, ignored=ignored)


def parse_results(path: Path, ground_truth: Path, *, strict: bool = True) -> dict[str, Instances]:
    """A bare COCO results list as Instances by file name, named and sized by ``ground_truth``.

    Every image of the ground truth is there, with no organoids where the list has none. Masks
    without a pixel are left out with a warning. Raises DataError as `parse_coco_instances` does.
    """
    path, ground_truth = Path(path), Path(ground_truth)
    return _results(read_json(path), path, ground_truth, strict)


def parse_predictions(
    path: Path, ground_truth: Path, *, strict: bool = True
) -> dict[str, Instances]:
    """Predictions in either form: an ``instances.json`` or a bare COCO results list."""
    path, ground_truth = Path(path), Path(ground_truth)
    data = read_json(path)
    if isinstance(data, list):
        return _results(data, path, ground_truth, strict)
    return parse_coco_instances(path, strict=strict).instances


def _results(data: Any, path: Path, ground_truth: Path, strict: bool) -> dict[str, Instances]:
    results = parse_results_list(data, path)
    images = parse_head(read_json(ground_truth), ground_truth).images
    _refuse_duplicates(ground_truth, images, [], [])
    known = {image.id for image in images}
    faults = _Faults(path)
    for number, entry in enumerate(results):
        if entry.image_id not in known:
            faults.fatal["result of an image that the ground truth lacks"].append(
                f"entry {number} (image id {entry.image_id})"
            )
    faults.settle("Give the ground truth that these predictions were made for.")
    by_image = _by_image(results)
    found = {
        image.file_name: _image_instances(image, by_image.get(image.id, []), faults, strict, 0)
        for image in images
    }
    faults.settle("Write the predictions again, with masks inside their images.")
    return found


def _image_instances(
    image: CocoImage,
    entries: Sequence[tuple[int, CocoAnnotation | CocoResult]],
    faults: _Faults,
    strict: bool,
    shift: int,
) -> Instances:
    shape = (image.height, image.width)
    masks: list[Mask] = []
    kept: list[CocoAnnotation | CocoResult] = []
    for number, entry in entries:
        decoded = decode(entry.segmentation, shape)
        labelled = isinstance(entry, CocoAnnotation)
        who = f"annotation {entry.id}" if isinstance(entry, CocoAnnotation) else f"entry {number}"
        for fault in decoded.faults:
            # A predictor may leave a mask without a pixel; a person's label may not be lost so.
            harmless = not labelled and decoded.mask is None
            mended = decoded.repaired and (harmless or not strict)
            kinds = faults.mended if mended else faults.fatal
            kinds[fault].append(f"{who} of {image.file_name}")
        if decoded.mask is not None:
            masks.append(decoded.mask)
            kept.append(entry)
    return Instances.from_masks(
        shape,
        masks,
        scores=[entry.score for entry in kept],
        classes=[entry.category_id for entry in kept],
        ids=_ids(kept, shift),
        sources=[entry.source if isinstance(entry, CocoAnnotation) else "" for entry in kept],
    )


def _ids(kept: Sequence[CocoAnnotation | CocoResult], shift: int) -> list[int]:
    labelled = [entry for entry in kept if isinstance(entry, CocoAnnotation)]
    if len(labelled) < len(kept):
        return list(range(1, len(kept) + 1))
    numbers = [entry.number for entry in labelled if entry.number is not None]
    if len(set(numbers)) == len(kept):
        return numbers
    return [entry.id + shift for entry in labelled]


def _by_image(
    entries: Iterable[CocoAnnotation | CocoResult],
) -> dict[int, list[tuple[int, CocoAnnotation | CocoResult]]]:
    found: dict[int, list[tuple[int, CocoAnnotation | CocoResult]]] = defaultdict(list)
    for number, entry in enumerate(entries):
        found[entry.image_id].append((number, entry))
    return found


def _chosen_images(
    images: Sequence[CocoImage], names: Sequence[str] | None, path: Path
) -> list[CocoImage]:
    if names is None:
        return list(images)
    by_name = {image.file_name: image for image in images}
    faults = _Faults(path)
    faults.fatal.update(
        _listed("image named but not in the file", [n for n in names if n not in by_name])
    )
    faults.fatal.update(_listed("image named twice", _repeated(names)))
    faults.settle("Check the spelling of the names, or give the file that has them.")
    return [by_name[name] for name in names]


def _listed(kind: str, offenders: list[str]) -> dict[str, list[str]]:
    return {kind: offenders} if offenders else {}


def _repeated(values: Iterable[Any]) -> list[str]:
    return [str(value) for value, count in Counter(values).items() if count > 1]


def _refuse_duplicates(
    path: Path,
    images: Sequence[CocoImage],
    annotations: Sequence[CocoAnnotation],
    categories: Sequence[Any],
) -> None:
    name_of = {image.id: image.file_name for image in images}
    image_of = {a.id: name_of.get(a.image_id, f"image {a.image_id}") for a in annotations}
    faults = _Faults(path)
    same_image = [f"{i} ({name_of[int(i)]})" for i in _repeated(image.id for image in images)]
    same_organoid = [f"{a} ({image_of[int(a)]})" for a in _repeated(a.id for a in annotations)]
    faults.fatal.update(_listed("duplicate image id", same_image))
    faults.fatal.update(_listed("duplicate file name", _repeated(i.file_name for i in images)))
    faults.fatal.update(_listed("duplicate annotation id", same_organoid))
    faults.fatal.update(_listed("duplicate category id", _repeated(c.id for c in categories)))
    faults.settle("Give each its own id; two files joined by hand often clash.")


def _check_links(coco: CocoFile, path: Path, ignore_regions: bool) -> None:
    _refuse_duplicates(path, coco.images, coco.annotations, coco.categories)
    name_of = {image.id: image.file_name for image in coco.images}
    classes = {category.id for category in coco.categories}
    faults = _Faults(path)
    for a in coco.annotations:
        if a.image_id not in name_of:
            faults.fatal["annotation of an unknown image"].append(f"{a.id} (image {a.image_id})")
            continue
        who = f"{a.id} of {name_of[a.image_id]}"
        if a.category_id not in classes:
            faults.fatal["annotation of an unknown category"].append(
                f"{who} (category {a.category_id})"
            )
        if a.is_region and not ignore_regions:
            faults.fatal["region that nobody looked at (ignore 1)"].append(who)
        elif a.iscrowd and not a.is_region:
            faults.fatal["crowd region (iscrowd 1)"].append(who)
    faults.settle(_remedy(list(faults.fatal)))


def _remedy(kinds: Sequence[str]) -> str:
    if any(kind.startswith("crowd") for kind in kinds):
        return "Crowd regions hold many organoids under one mask: outline each, or leave the image out."
    if any(kind.startswith("region") for kind in kinds):
        return "Such images can be trained on, not measured against: finish their review first."
    return "Add the missing images or categories, or remove the annotations."
