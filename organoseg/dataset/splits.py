"""Splits: which side (train, validation, test) every group of images is on, decided once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from organoseg.core import DataError, UsageError
from organoseg.core.files import read_json, write_json
from organoseg.dataset.groups import group_key
from organoseg.dataset.labelled import LabelledDataset

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = get_args(Side)


class _SplitFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["organoseg split 1"]
    seed: int
    sides: Annotated[dict[str, Side], Field(min_length=1)]
    groups: dict[str, str]


@dataclass(frozen=True)
class Split:
    """The side of every image by name, the group of each, and the seed that dealt them out.

    Raises DataError when a group stands on two sides, or an image has a side but no group.
    """

    sides: Mapping[str, Side]
    groups: Mapping[str, str]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sides.keys() != self.groups.keys():
            odd = sorted(self.sides.keys() ^ self.groups.keys())
            raise DataError(
                f"{len(odd)} images have a side or a group but not both: {', '.join(odd[:5])}",
                remedy="Make the split again from its labelled set.",
            )
        seen: dict[str, Side] = {}
        for name, side in self.sides.items():
            if seen.setdefault(self.groups[name], side) != side:
                raise DataError(
                    f"Group {self.groups[name]!r} stands on two sides of the split "
                    f"({seen[self.groups[name]]} and {side})",
                    where=name,
                    remedy="Put the whole group on one side: its images resemble each other.",
                )

    def names(self, side: Side) -> list[str]:
        """The images of one side, in order."""
        return [name for name, own in self.sides.items() if own == side]

    def side_of_group(self, group: str) -> Side | None:
        """The side that crops and corrections of this group inherit; None for a new group."""
        return next((self.sides[n] for n, own in self.groups.items() if own == group), None)

    def check(self, dataset: LabelledDataset) -> None:
        """DataError when an image of ``dataset`` has no side, or one picture is on two sides."""
        unknown = [name for name in dataset.names if name not in self.sides]
        if unknown:
            raise DataError(
                f"{len(unknown)} images have no side in the split: {', '.join(unknown[:5])}",
                remedy="Add them under the side of their group, or make a new split file.",
            )
        first: dict[str, str] = {}
        for item in dataset:
            twin = first.setdefault(item.image.identity, item.name)
            if self.sides[twin] != self.sides[item.name]:
                raise DataError(
                    f"The same picture is {twin} in {self.sides[twin]} and {item.name} in "
                    f"{self.sides[item.name]}",
                    remedy="Remove one of the two: a test image must never be trained on.",
                )

    def extended(self, sides: Mapping[str, Side], groups: Mapping[str, str]) -> Split:
        """This split with more images; DataError when one of them would move, or part its group."""
        moved = [n for n in sides if self.sides.get(n, sides[n]) != sides[n]]
        moved += [n for n in groups if self.groups.get(n, groups[n]) != groups[n]]
        if moved:
            raise DataError(
                f"{len(moved)} images have another side or group already: {', '.join(moved[:5])}",
                remedy="A split is decided once: keep the side that they have.",
            )
        return Split({**self.sides, **sides}, {**self.groups, **groups}, self.seed)

    def save(self, path: Path, extend: bool = False) -> None:
        """Write the split; a file that is there and says something else is never replaced.

        ``extend``: a file whose images all keep their sides and groups is.
        """
        path = Path(path)
        if path.exists():
            stored = Split.load(path)
            if stored == self:
                return
            kept = self.sides.items() >= stored.sides.items()
            kept = kept and self.groups.items() >= stored.groups.items()
            if not (extend and kept):
                raise DataError(
                    "Another split is stored there already, and a split is decided once",
                    where=path,
                    remedy="Load that one, or give a new file name for this one.",
                )
        content = {
            "format": "organoseg split 1",
            "seed": self.seed,
            "sides": dict(self.sides),
            "groups": dict(self.groups),
        }
        write_json(path, content)

    @staticmethod
    def load(path: Path) -> Split:
        """A stored split; DataError when the file is missing, damaged or contradicts itself."""
        path = Path(path)
        stored = _parse(TypeAdapter(_SplitFile), read_json(path), path)
        return Split(stored.sides, stored.groups, stored.seed)


def split_by_group(
    dataset: LabelledDataset, fractions: Mapping[Side, float], seed: int = 0
) -> Split:
    """Deal whole groups out so that each side's share of images comes near its fraction.

    Groups that hold the same picture are kept together. Deterministic for one seed. UsageError
    for fractions that are not positive shares of 1; DataError for fewer groups than sides.
    """
    groups = {item.name: group_key(item.image) for item in dataset}
    pictures = {item.name: item.image.identity for item in dataset}
    return deal_groups(groups, pictures, fractions, seed)


def deal_groups(
    groups: Mapping[str, str],
    pictures: Mapping[str, str],
    fractions: Mapping[Side, float],
    seed: int = 0,
) -> Split:
    """`split_by_group` for images of which only the group and the hash of the picture are at hand, both by name."""
    _check_fractions(fractions)
    clusters = _clusters(groups, pictures)
    if len(clusters) < len(fractions):
        raise DataError(
            f"{len(clusters)} independent groups cannot fill {len(fractions)} sides",
            remedy="Take images of more wells or plates, or split into fewer sides.",
        )
    order = np.random.default_rng(seed).permutation(len(clusters))
    # Largest first, so that the small ones can even the shares out; the seed breaks ties.
    ranked = sorted((clusters[i] for i in order), key=len, reverse=True)
    lacking = {side: fraction * len(groups) for side, fraction in fractions.items()}
    empty = dict.fromkeys(fractions)
    sides: dict[str, Side] = {}
    for position, names in enumerate(ranked):
        # The last groups are kept for sides that still have none.
        pool = empty if len(ranked) - position <= len(empty) else fractions
        side = max(pool, key=lambda s: lacking[s])
        empty.pop(side, None)
        lacking[side] -= len(names)
        sides.update(dict.fromkeys(names, side))
    return Split({name: sides[name] for name in groups}, dict(groups), seed)


def few_label_split(path: Path, name: str) -> list[str]:
    """The file names of one subset (such as ``labelled_5``) of a ``few_label_splits.json``."""
    path = Path(path)
    data = read_json(path)
    if not isinstance(data, dict):
        raise DataError("Not a file of named subsets", where=path, remedy="Give the split file.")
    subsets = {key: value for key, value in data.items() if isinstance(value, list)}
    if name not in subsets:
        raise DataError(
            f"No subset {name!r}; there are {', '.join(subsets) or 'none'}",
            where=path,
            remedy="Name one of these.",
        )
    names: list[str] = _parse(TypeAdapter(list[str]), subsets[name], path)
    return names


def _check_fractions(fractions: Mapping[Side, float]) -> None:
    wrong = [side for side in fractions if side not in SIDES]
    if wrong:
        raise UsageError(f"Unknown side {wrong[0]!r}", remedy=f"Use {', '.join(SIDES)}.")
    if not fractions or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise UsageError(
            f"The fractions {dict(fractions)} are not positive shares that add up to 1",
            remedy="Leave out the sides that get nothing and let the others sum to 1.",
        )


def _clusters(groups: Mapping[str, str], pictures: Mapping[str, str]) -> list[list[str]]:
    """Names by group, groups that share a picture joined into one."""
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.setdefault(key, key) != key:
            key = leader[key]
        return key

    for name, group in groups.items():
        leader[find(f"pixels {pictures[name]}")] = find(f"group {group}")
    found: dict[str, list[str]] = {}
    for name, group in groups.items():
        found.setdefault(find(f"group {group}"), []).append(name)
    return list(found.values())


def _parse(adapter: TypeAdapter[Any], data: Any, path: Path) -> Any:
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        raise DataError(
            f"Not a valid split: {place}: {first['msg']}",
            where=path,
            remedy="Restore the file from where it was first stored.",
        ) from error
