"""From a recipe's paths to checked data sets: what is trained on never meets what is measured."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from organoseg.core import DataError, UsageError
from organoseg.dataset import LabelledDataset, few_label_split, load_coco
from organoseg.training.methods import FromArchive
from organoseg.training.plan import geometry_of
from organoseg.training.recipe import LabelledData, Recipe
from organoseg.training.unlabelled import Unlabelled, open_unlabelled
from organoseg.training.with_labelled import WithLabelled


@dataclass(frozen=True, eq=False)
class RunData:
    """What a run reads; ``manifest`` is a hash of all that was chosen."""

    labelled: LabelledDataset
    validation: LabelledDataset | None
    unlabelled: Unlabelled | None
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
    partly = [item.name for item in validation or () if item.ignored is not None]
    if partly:
        raise DataError(
            f"{len(partly)} images of data.validation were reviewed only in part: {', '.join(partly[:5])}",
            where=recipe.data.validation.annotations if recipe.data.validation else None,
            remedy="Finish their review, or take them out: nothing can be measured where nobody looked.",
        )
    if not any(len(item.instances) for item in labelled):
        raise DataError(
            "no labelled image has an organoid",
            where=recipe.data.labelled.annotations,
            remedy="Add labels.",
        )
    unlabelled = open_unlabelled(
        recipe.data, recipe.seed, geometry_of(recipe), [item.image for item in validation or ()]
    )
    method = recipe.method
    if (
        unlabelled is not None
        and isinstance(method, FromArchive)
        and method.unlabelled_includes_labelled
    ):
        # Those whose pixels the archive holds are drawn from it already.
        added = [item for item in labelled if not unlabelled.holds(item.image)]
        if added:
            unlabelled = WithLabelled(unlabelled, added, recipe.seed)
    return RunData(labelled, validation, unlabelled, _manifest(labelled, validation, unlabelled))


def _manifest(
    labelled: LabelledDataset, validation: LabelledDataset | None, unlabelled: Unlabelled | None
) -> str:
    """Hash of all pixels and labels in the order in which they are drawn: any change changes the run."""
    digest = hashlib.sha256()
    for dataset in (labelled, validation or ()):
        for item in dataset:
            masks = [rle["counts"] for rle in item.instances.to_rles()]
            classes = item.instances.classes.tolist()
            digest.update(f"{item.image.identity} {classes} {masks}\n".encode())
            if item.ignored is not None:
                unknown = [rle["counts"] for rle in item.ignored.to_rles()]
                digest.update(f"unknown {unknown}\n".encode())
        digest.update(b"|")
    digest.update(unlabelled.identity.encode() if unlabelled is not None else b"")
    return digest.hexdigest()
