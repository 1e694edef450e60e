"""Groups: which images come from the same plate, well or experiment and must stay together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from organoseg.core import DataError, Image, UsageError
from organoseg.dataset.labelled import LabelledDataset

GroupRule = Callable[[str], str]


def group_key(image: Image) -> str:
    """The group of ``image``; an image that carries none is a group of its own."""
    return image.group or f"image {image.name}"


def by_pattern(pattern: str) -> GroupRule:
    r"""A rule that takes the group from the file name, e.g. ``by_pattern(r"(Subset_\d+)_")``.

    The group is what the pattern's parentheses match, joined with ``/`` where there are several,
    anywhere in the name. The rule raises DataError for a name that the pattern does not match.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"The group pattern {pattern!r} is no regular expression: {error}",
            remedy=r"Write one such as (Subset_\d+)_ with the group in parentheses.",
        ) from error
    if compiled.groups == 0:
        raise UsageError(
            f"The group pattern {pattern!r} has no parentheses",
            remedy="Put parentheses around the part of the name that is the group.",
        )

    def rule(name: str) -> str:
        match = compiled.search(name)
        if match is None:
            raise DataError(
                f"The group pattern {pattern!r} does not match the file name",
                where=name,
                remedy="Widen the pattern, or leave the file out.",
            )
        return "/".join(part for part in match.groups() if part is not None)

    return rule


def regroup(dataset: LabelledDataset, rule: GroupRule) -> LabelledDataset:
    """``dataset`` with every image's group given by ``rule`` from its name."""
    items = tuple(
        replace(item, image=replace(item.image, group=rule(item.name))) for item in dataset
    )
    return LabelledDataset(items, dataset.classes)


def members(images: Iterable[Image]) -> dict[str, list[str]]:
    """The names of the images of each group, in order of appearance."""
    found: dict[str, list[str]] = defaultdict(list)
    for image in images:
        found[group_key(image)].append(image.name)
    return dict(found)
