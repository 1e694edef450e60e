"""Import of folders of images and label images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from organoseg.core import DataError
from organoseg.dataset.sources.found import NO_IMAGE, Content, Survey, of_labels
from organoseg.dataset.sources.pairing import Key, matched
from organoseg.dataset.sources.per_image import surveyed
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree
from organoseg.io.label_image import SUFFIXES, read_label_image

#: How people name image and label image, the closest description first.
USUAL = (
    ("*_img.*", "*_masks_organoid.*"),
    ("*_img.*", "*_masks.*"),
    ("*_image.*", "*_label.*"),
    ("*_image.*", "*_mask.*"),
    ("*.*", "*_cp_masks.*"),
    *(("*.*", f"*_{word}.*") for word in ("masks", "mask", "labels", "label", "seg")),
    *(
        (f"{images}/*.*", f"{labels}/*.*")
        for images in ("*images", "*image", "*imgs", "*img")
        for labels in ("*masks", "*mask", "*labels", "*label", "*segmentations", "*annotations")
    ),
)  # fmt: skip

#: Two folders, where nothing closer fits: other names of the folders, or label images that end in a word of their own,
#: or that are called as the image with its suffix (``labels/A01.png.tif``, as `organoseg predict` calls them).
FURTHER = tuple(
    (f"{images}/{image}", f"{labels}/{label}")
    for image, label in (
        ("*.*", "*.*"),
        *(
            ("*.*", f"*_{word}.*")
            for word in ("mask", "masks", "cp_masks", "label", "labels", "seg")
        ),
        *(("*", f"*.{suffix}") for suffix in ("tif", "tiff", "png")),
    )
    for images in ("*images", "*image", "*imgs", "*img", "*raw")
    for labels in ("*masks", "*mask", "*labels", "*label", "*gt", "*ground_truth")
)


class LabelImageImporter:
    """One label image an image, its name told by a pattern or by what is usual."""

    name = "label-images"
    title = "images with label images"

    def files(self, tree: Tree, rules: Rules) -> Sequence[Path]:
        """The label images; the patterns that most of the files fit where the user gave none."""
        return list(_pairs(tree, rules)[1].values())

    def survey(self, tree: Tree, files: Sequence[Path], rules: Rules) -> Survey:
        """Image and label image of every name. A label image without its image is a fault."""
        survey = Survey()
        images, labels = _pairs(tree, rules)
        for key, path in labels.items():
            if key not in images:
                survey.faults.add(NO_IMAGE, tree.short(path))
        pairs = [(images[key], labels[key]) for key in labels if key in images]
        return surveyed(tree, pairs, labels.values(), _read, rules, survey)


def _pairs(tree: Tree, rules: Rules) -> tuple[dict[Key, Path], dict[Key, Path]]:
    best: tuple[dict[Key, Path], dict[Key, Path]] = ({}, {})
    if rules.image_pattern is not None and rules.label_pattern is not None:
        found = _match(tree, rules.image_pattern, rules.label_pattern, tree.readable)
        if not found[1]:
            raise DataError(
                f"No file has a name like {rules.label_pattern!r}",
                where=tree.source,
                remedy="Patterns fit the whole path below the source: 'masks/*.png'.",
            )
        return found
    most = 0
    for patterns in (USUAL, FURTHER):
        for image_pattern, label_pattern in patterns:
            images, labels = _match(tree, image_pattern, label_pattern, tree.pictures)
            both = len(images.keys() & labels.keys())
            if both > most:
                best, most = (images, labels), both
        if most:
            break
    return best


def _match(
    tree: Tree, image_pattern: str, label_pattern: str, images: Sequence[Path]
) -> tuple[dict[Key, Path], dict[Key, Path]]:
    files = [path for path in tree.labels if path.suffix.lower() in (*SUFFIXES, ".jpg", ".jpeg")]
    labels = matched(files, label_pattern, tree.short)
    if not labels:
        return {}, {}
    others = set(labels.values())
    return matched((p for p in images if p not in others), image_pattern, tree.name_of), labels


def _read(file: Path, size: tuple[int, int], rules: Rules) -> Content:
    return of_labels(read_label_image(file), size, rules)
