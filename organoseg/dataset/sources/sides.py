"""Which side, train, validation or test, every imported image stands on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from organoseg.core import DataError
from organoseg.dataset.groups import by_pattern
from organoseg.dataset.sources.found import TWICE, Entry, Survey, some
from organoseg.dataset.sources.record import ImportReport
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree
from organoseg.dataset.splits import Side, Split, deal_groups
from organoseg.io.groups import group_of


class Placed(Protocol):
    """An image that is to have a side."""

    @property
    def entry(self) -> Entry:
        """Its name, and the side that the source gives it."""
        ...

    @property
    def key(self) -> str:
        """The hash of its pixels."""
        ...

    @property
    def group(self) -> str:
        """What it must not be parted from."""
        ...


def grouped(tree: Tree, rules: Rules) -> Callable[[str], str]:
    """The rule by which a name below the source has its group."""
    if rules.group_pattern is not None:
        return by_pattern(rules.group_pattern)
    # The folder that names start from is called as the source is, wherever it was unpacked.
    return lambda name: group_of(Path("/", tree.top.resolve().name, name))


def dealt(
    items: Sequence[Placed], rules: Rules, report: ImportReport, survey: Survey
) -> tuple[Split, set[str]]:
    """The sides, and the names of images that may not stay because they stand on another side too.

    Raises DataError where the source gives a side to some of its images only, or there are too few groups for those
    that were asked for.
    """
    stated = [item for item in items if item.entry.side is not None]
    if rules.sides == "folders" or (rules.sides == "auto" and stated):
        return _as_stated(items, rules, report, survey)
    groups = {item.entry.name: item.group for item in items}
    pictures = {item.entry.name: item.key for item in items}
    _say_twins(items, report)
    fractions: dict[Side, float] = {"train": 1 - rules.validation - rules.test}
    fractions |= {"validation": rules.validation} if rules.validation else {}
    fractions |= {"test": rules.test} if rules.test else {}
    if rules.sides == "train":
        fractions = {"train": 1.0}
    try:
        return deal_groups(groups, pictures, fractions, rules.seed), set()
    except DataError as error:
        if rules.sides == "groups":
            raise DataError(
                error.what,
                where=report.source["path"],
                remedy="--group-pattern tells groups by file name, --sides train leaves all in training.",
            ) from error
        report.notes.append(
            "all images are for training: they form too few groups to hold some back "
            f"({some(sorted(set(groups.values())))}); --group-pattern tells groups by file name"
        )
        return deal_groups(groups, pictures, {"train": 1.0}, rules.seed), set()


def _as_stated(
    items: Sequence[Placed], rules: Rules, report: ImportReport, survey: Survey
) -> tuple[Split, set[str]]:
    without = [item.entry.name for item in items if item.entry.side is None]
    if without:
        raise DataError(
            f"{len(without)} images lie in no folder called train, val or test: {some(without)}",
            where=report.source["path"],
            remedy="Import the folders that have sides, or deal groups out instead: --sides groups.",
        )
    gone = _doubles(items, rules, report, survey)
    sides = {i.entry.name: i.entry.side or "train" for i in items if i.entry.name not in gone}
    kept = [item for item in items if item.entry.name in sides]
    seen: dict[str, set[str]] = defaultdict(set)
    for item in kept:
        seen[item.group].add(sides[item.entry.name])
    parted = sorted(group for group, found in seen.items() if len(found) > 1)
    if parted:
        report.notes.append(
            f"the source's own sides part {len(parted)} groups ({some(parted)}): results on its test images may "
            "look better than they are"
        )
    groups = {
        item.entry.name: f"{sides[item.entry.name]}/{item.group}"
        if item.group in parted
        else item.group
        for item in kept
    }
    _say_twins(kept, report)
    if "train" not in sides.values():
        report.notes.append(
            "the source's own sides leave nothing to train on; --sides groups deals anew"
        )
    return Split(sides, groups, rules.seed), gone


def _doubles(
    items: Sequence[Placed], rules: Rules, report: ImportReport, survey: Survey
) -> set[str]:
    """Names of pictures to take out of a side because another, to be measured on, has them too."""
    order = {"test": 0, "validation": 1, "train": 2}
    first: dict[str, Placed] = {}
    gone: set[str] = set()
    for item in sorted(items, key=lambda i: order[i.entry.side or "train"]):
        twin = first.setdefault(item.key, item)
        if twin.entry.side == item.entry.side:
            continue
        who = f"{item.entry.name} ({item.entry.side}) is {twin.entry.name} ({twin.entry.side})"
        if rules.repair:
            report.leave_out(TWICE, who)
            gone.add(item.entry.name)
        else:
            survey.faults.add(TWICE, who)
    return gone


def _say_twins(items: Sequence[Placed], report: ImportReport) -> None:
    names: dict[str, list[str]] = defaultdict(list)
    for item in items:
        names[item.key].append(item.entry.name)
    twins = [" = ".join(same) for same in names.values() if len(same) > 1]
    if twins:
        report.notes.append(f"{len(twins)} pictures are there more than once: {some(twins)}")
