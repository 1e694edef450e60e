"""From a recipe's paths to checked data sets: what is trained on never meets what is measured."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from organoseg.archive import open_unlabelled
from organoseg.core import DataError, Image, UsageError
from organoseg.dataset import LabelledDataset, few_label_split, load_coco
from organoseg.training.recipe import LabelledData, Recipe


@dataclass(frozen=True, eq=False)
class Preferred:
    """The images of a source whose names contain one of some words."""

    source: Any
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def entries(self) -> tuple[Any, ...]:
        """What the source knows of each image of this view."""
        return tuple(self.source.entries[i] for i in self.indices)

    def read(self, index: int) -> Image:
        """The image at ``index`` of this view."""
        image: Image = self.source.read(self.indices[index])
        return image


@dataclass(frozen=True, eq=False)
class RunData:
    """What a run reads; ``manifest`` is a hash of all that was chosen."""

    labelled: LabelledDataset
    validation: LabelledDataset | None
    unlabelled: Any | None
    manifest: str


def _labelled(part: LabelledData) -> LabelledDataset:
    names = list(part.names) if part.names is not None else None
    if part.split is not None:
        file, hash_sign, key = part.split.rpartition("#")
        if not hash_sign or not file:
            raise UsageError(
                f"cannot read the split {part.split!r}",
                where="recipe, data",
                remedy="Write FILE.json#KEY.",
            )
        names = few_label_split(Path(file), key)
    return load_coco(part.annotations, part.images, names)


def _hashes(dataset: LabelledDataset | None) -> dict[str, str]:
    return {item.image.identity: item.image.name for item in dataset} if dataset else {}


def _unlabelled(recipe: Recipe, forbidden: set[str]) -> Any | None:
    path = recipe.data.unlabelled
    if path is None:
        return None
    source = open_unlabelled(path).exclude(forbidden)
    words = recipe.data.prefer
    if not words:
        return source
    found = tuple(i for i, e in enumerate(source.entries) if any(w in e.name for w in words))
    if not found:
        raise DataError(
            f"no unlabelled image has {' or '.join(words)} in its name",
            where=path,
            remedy="Mend data.prefer.",
        )
    return Preferred(source, found)


def load_data(recipe: Recipe) -> RunData:
    """Everything the recipe names, checked.

    Raises
    ------
    DataError
        Data is missing or faulty, or an image is both trained on and validated on.
    """
    labelled = _labelled(recipe.data.labelled)
    validation = _labelled(recipe.data.validation) if recipe.data.validation else None
    trained, measured = _hashes(labelled), _hashes(validation)
    both = sorted(trained[h] for h in trained.keys() & measured.keys())
    if both:
        raise DataError(
            f"{len(both)} images are in both data.labelled and data.validation: {', '.join(both[:5])}",
            where=recipe.data.labelled.annotations,
            remedy="Take them out of one of the two.",
        )
    if not any(len(item.instances) for item in labelled):
        raise DataError(
            "no labelled image has an organoid",
            where=recipe.data.labelled.annotations,
            remedy="Add labels.",
        )
    unlabelled = _unlabelled(recipe, set(measured))
    return RunData(labelled, validation, unlabelled, _manifest(labelled, validation, unlabelled))


def _manifest(
    labelled: LabelledDataset, validation: LabelledDataset | None, unlabelled: Any | None
) -> str:
    """Hash of all pixels and labels in the order in which they are drawn: any change changes the run."""
    digest = hashlib.sha256()
    for dataset in (labelled, validation or ()):
        for item in dataset:
            masks = [rle["counts"] for rle in item.instances.to_rles()]
            classes = item.instances.classes.tolist()
            digest.update(f"{item.image.identity} {classes} {masks}\n".encode())
        digest.update(b"|")
    for entry in unlabelled.entries if unlabelled is not None else ():
        digest.update(f"{entry.pixel_hash}\n".encode())
    return digest.hexdigest()
