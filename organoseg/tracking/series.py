"""Which pictures of a run are frames of one series, and when each was taken."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from organoseg.archive.grammar import Grammar, natural
from organoseg.core import DataError, UsageError
from organoseg.tracking.run_folder import Picture

_HOURS = {"s": 1 / 3600, "min": 1 / 60, "h": 1.0, "d": 24.0}


@dataclass(frozen=True)
class Series:
    """Pictures of one place in the order of time: ``times`` in hours, or in frames where the interval is unknown."""

    name: str
    pictures: tuple[Picture, ...]
    times: tuple[float, ...]
    hourly: bool


def parse_interval(text: str) -> float:
    """Hours of ``30min``, ``2h``, ``1.5 d`` or ``90s``; UsageError on anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|d)\s*", text)
    hours = float(found[1]) * _HOURS[found[2]] if found else 0.0
    if not (math.isfinite(hours) and hours > 0):
        raise UsageError(
            f"{text!r} is no time between frames",
            where="--interval",
            remedy="Give a number and s, min, h or d: 30min, 2h.",
        )
    return hours


def find_series(
    pictures: Iterable[Picture],
    grammar: str | None = None,
    by_folder: bool = False,
    interval: float | None = None,
) -> tuple[Series, ...]:
    """The series of a run, sorted by name; a picture without a time is in none.

    Parameters
    ----------
    grammar
        How keys name series and time, as `organoseg archive --grammar` takes it; None takes what `predict` noted.
    by_folder
        Every folder is a series in the natural order of its file names.
    interval
        Hours from one frame to the next.

    Raises
    ------
    DataError
        No picture names its time, or two of a series name the same.
    UsageError
        The grammar is none.
    """
    known = None if grammar is None else Grammar.of(grammar)
    groups: dict[str, list[tuple[str, Picture]]] = {}
    for picture in pictures:
        place = _by_folder(picture) if by_folder else _by_fields(picture, known)
        if place is not None:
            groups.setdefault(place[0], []).append((place[1], picture))
    if not groups:
        raise DataError(
            "no picture of this run names its time",
            remedy="Give --grammar with a group (?P<time>...), or --by-folder where each folder is a series.",
        )
    ordered = sorted(groups, key=natural)
    return tuple(_series(name, groups[name], interval, by_folder) for name in ordered)


def _by_folder(picture: Picture) -> tuple[str, str]:
    pure = PurePosixPath(picture.key)
    # Pictures that lie in no folder of the run are a series as well, and it needs a name.
    return ("all" if pure.parent == PurePosixPath() else str(pure.parent)), pure.name


def _by_fields(picture: Picture, grammar: Grammar | None) -> tuple[str, str] | None:
    if grammar is not None:
        said = grammar.parse(picture.key, Path(picture.key))
        time = said.coordinates.get("t")
        # What is cut out of the name stays in the series' name, but for the time.
        ending = PurePosixPath(picture.key).suffix
        name = _without_time(said.stack, said.coordinates).removesuffix(ending)
        return None if time is None else (name, time)
    time = picture.fields.get("time")
    return None if time is None else (_place(picture.fields), time)


def _without_time(stack: str, coordinates: Mapping[str, str]) -> str:
    for axis in ("c", "z"):
        if axis in coordinates:
            stack = stack.replace(f"<{axis}>", coordinates[axis])
    return stack.replace("<t>", "*")


def _place(fields: Mapping[str, str]) -> str:
    """What the frames of a series have in common."""
    # Files of one series differ in <t>, and end alike.
    series = re.sub(r"(<t>[^/]*)\.\w+$", r"\1", fields.get("series", ""))
    if not series:
        parts = [fields[key] for key in ("plate", "well", "site") if key in fields]
        series = "/".join(parts) or fields.get("group", "all")
    channel, z = fields.get("channel"), fields.get("z", "")
    name = _without_time(series, {} if channel is None else {"c": channel})
    if channel is not None and "<c>" not in series:
        name += f", channel {channel}"
    # Any other z tells how the stack was seen, not which plane of it.
    return f"{name}, z {z}" if z.isdecimal() else name


def _series(
    name: str, members: Sequence[tuple[str, Picture]], interval: float | None, by_folder: bool
) -> Series:
    ordered = sorted(members, key=lambda member: (natural(member[0]), member[1].key))
    labels = [label for label, _ in ordered]
    for before, after in pairwise(ordered):
        if natural(before[0]) == natural(after[0]):
            raise DataError(
                f"Two pictures of series {name!r} have the time {after[0]!r}: {before[1].key} and {after[1].key}",
                remedy="Track channels, focus planes and sites apart: say with --grammar how the names differ.",
            )
    numbers = None if by_folder else _numbers(labels)
    steps = numbers or [float(place) for place in range(len(labels))]
    scale = interval or 1.0
    times = tuple((step - steps[0]) * scale for step in steps)
    return Series(name, tuple(picture for _, picture in ordered), times, interval is not None)


def _numbers(labels: Sequence[str]) -> list[float] | None:
    """The numbers in labels such as 7, t007 or 07h; None when one has none or several."""
    found = [re.findall(r"\d+", label) for label in labels]
    if any(len(numbers) != 1 for numbers in found):
        return None
    return [float(numbers[0]) for numbers in found]
