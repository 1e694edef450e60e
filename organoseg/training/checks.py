"""What labelled images and an archive must have in common, and what not, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from organoseg.core import DataError
from organoseg.dataset import LabelledDataset
from organoseg.training.unlabelled import Unlabelled


def check_classes(
    labelled: LabelledDataset, validation: LabelledDataset | None, where: Path | None = None
) -> None:
    """Every class has a label, and the validation images have no other classes.

    Raises
    ------
    DataError
        No labelled image has an organoid at all, or of one of the classes; or the validation images hold classes that
        nothing is learnt of.
    """
    if not any(len(item.instances) for item in labelled):
        raise DataError("no labelled image has an organoid", where=where, remedy="Add labels.")
    seen = _classes_in(labelled)
    without = [f"{name} (category {c})" for c, name in labelled.classes.items() if c not in seen]
    if without:
        raise DataError(
            f"no organoid is labelled as {' or '.join(without)}: nothing can be learnt of it",
            where=where,
            remedy="Label some of each class, or take the class out of the file's categories.",
        )
    if validation is None:
        return
    other = [
        f"{validation.classes.get(c, c)} (category {c})"
        for c in sorted(_classes_in(validation) - labelled.classes.keys())
    ]
    if other:
        raise DataError(
            f"the validation images hold classes that no label has: {', '.join(other)}",
            where=where,
            remedy="Give both files the same categories.",
        )
    _check_names(labelled, validation, where)


def _check_names(
    labelled: LabelledDataset, validation: LabelledDataset, where: Path | None
) -> None:
    """With several classes one number must mean one class; with one class its name does not matter."""
    if len(labelled.classes) < 2:
        return
    for number, name in labelled.classes.items():
        theirs = validation.classes.get(number, name)
        if theirs != name:
            raise DataError(
                f"category {number} is {name!r} in the labels and {theirs!r} in the validation images",
                where=where,
                remedy="Give both files the same categories.",
            )


def check_teacher(theirs: Mapping[int, str], ours: Mapping[int, str], where: Path) -> None:
    """A teacher tells the classes of the labels apart, and calls them by the same numbers.

    Raises
    ------
    DataError
        It knows other classes or, where there are several, other names for their numbers.
    """
    names = len(ours) > 1 and dict(theirs) != dict(ours)
    if tuple(sorted(theirs)) == tuple(sorted(ours)) and not names:
        return
    said = (", ".join(f"{k} {v}" for k, v in sorted(one.items())) for one in (theirs, ours))
    raise DataError(
        "the teacher tells the classes {} apart, and the labels have {}".format(*said),
        where=where,
        remedy="Take a teacher that was trained on labels of these classes.",
    )


def _classes_in(dataset: LabelledDataset) -> set[int]:
    return {int(c) for item in dataset for c in np.unique(item.instances.classes)}


def check_unlabelled(
    unlabelled: Unlabelled | None, labelled: LabelledDataset, where: Path | None = None
) -> None:
    """The archive has an image that is not labelled.

    Raises
    ------
    DataError
        All its images are labelled ones: a teacher would be asked for what people have drawn.
    """
    if unlabelled is None or len(unlabelled) > len(labelled):
        return
    held = {item.image.identity for item in labelled if unlabelled.holds(item.image)}
    if len(held) >= len(unlabelled):
        raise DataError(
            f"all {len(unlabelled)} images of the archive are labelled ones: there is nothing new to learn from them",
            where=where,
            remedy="Add images without labels to the archive, or leave it out (method.name: supervised).",
        )
