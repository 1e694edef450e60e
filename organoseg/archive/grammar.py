"""What a file name says: plate, well, site, time, channel and z."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from organoseg.core import UsageError
from organoseg.io.groups import group_of

#: Named groups that make planes of one stack, with their axes.
STACKED = {"time": "t", "channel": "c", "z": "z"}
_PLACES = ("plate", "well", "row", "column", "site")
_KNOWN = (*_PLACES, *STACKED)

#: Names of files without folder and ending; each must match the whole.
PRESETS: Mapping[str, str] = {
    # D6_auto_Plate_M_p00_z05_0_A02f00d0: scan, position, focus plane, -, well, field, light cube.
    "evos": r"(?P<plate>.+)_(?P<site>p\d+)_z(?P<z>\d+)_\d+_(?P<row>[A-P])(?P<column>\d{2})f\d+d(?P<channel>\d+)",
    # ch01_A_19_t1: channel, row, column, time.
    "imagexpress": r"ch(?P<channel>\d+)_(?P<row>[A-P])_(?P<column>\d{1,2})_t(?P<time>\d+)",
    # example_data_well06: focus planes of one stitched well.
    "lung-well": r"example_data_well(?P<z>\d{2})",
    # Subset_2_450x450_017: crops of M-OrgaQuant; a subset is one experiment.
    "m-orgaquant": r"(?P<plate>Subset_\d+)_(?P<site>\d+x\d+_\d+)",
    # orgaquant_3: one Matrigel dome each.
    "orgaquant": r"orgaquant_(?P<site>\d+)",
}


@dataclass(frozen=True, slots=True)
class FileName:
    """A file name understood.

    ``stack``: the name with time, channel and z cut out: files that share it are one stack;
    ``coordinates``: what was cut out, by axis (t, c, z); ``fields``: plate, well and site;
    ``spans``: where in the name the cut parts were.
    """

    stack: str
    coordinates: Mapping[str, str]
    fields: Mapping[str, str]
    group: str
    spans: tuple[tuple[int, int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Grammar:
    """Patterns tried in turn: presets on a file's name, a user's own on its path below the source."""

    patterns: tuple[re.Pattern[str], ...]
    on_path: bool = False

    @staticmethod
    def of(text: str = "auto") -> Grammar:
        """``auto`` (every preset), ``none``, the name of a preset, or a regular expression.

        UsageError when it is no regular expression, or has none of the known named groups.
        """
        if text == "none":
            return Grammar(())
        if text == "auto":
            return Grammar(tuple(map(re.compile, PRESETS.values())))
        if text in PRESETS:
            return Grammar((re.compile(PRESETS[text]),))
        choices = f"auto, none, {', '.join(PRESETS)}, or a regular expression with named groups"
        remedy = f"Give one of {choices}: {', '.join(_KNOWN)}."
        try:
            pattern = re.compile(text)
        except re.error as error:
            raise UsageError(f"No grammar: {text!r}: {error}", remedy=remedy) from error
        unknown = set(pattern.groupindex) - set(_KNOWN)
        if unknown or not pattern.groupindex:
            what = f"unknown groups {', '.join(sorted(unknown))}" if unknown else "no named group"
            raise UsageError(f"The grammar {text!r} has {what}", remedy=remedy)
        return Grammar((pattern,), on_path=True)

    def parse(self, name: str, path: Path) -> FileName:
        """``name``: the path below the source, with /; ``path``: the file, for the folder's name.

        A name that no pattern fits is a stack of its own, grouped as `io.group_of` says.
        """
        pure = PurePosixPath(name)
        start = 0 if self.on_path else len(name) - len(pure.name)
        for pattern in self.patterns:
            found = pattern.search(name) if self.on_path else pattern.fullmatch(pure.stem)
            if found is not None:
                return _understood(name, path, found, start)
        return FileName(name, {}, {}, group_of(path))


def _understood(name: str, path: Path, found: re.Match[str], start: int) -> FileName:
    said = {key: value for key, value in found.groupdict().items() if value is not None}
    spans = sorted(
        (found.start(key) + start, found.end(key) + start, STACKED[key])
        for key in said
        if key in STACKED
    )
    stack, done = "", 0
    for first, last, axis in spans:
        stack += f"{name[done:first]}<{axis}>"
        done = last
    fields: dict[str, str] = {key: said[key] for key in ("plate", "site") if key in said}
    well = said.get("well")
    if well is None and "row" in said and "column" in said:
        column = said["column"]
        well = f"{said['row']}{int(column):02d}" if column.isdigit() else f"{said['row']}{column}"
    if well is not None:
        fields["well"] = well
        fields.setdefault("plate", path.absolute().parent.name)
    parts = [fields[key] for key in ("plate", "well") if key in fields]
    coordinates = {STACKED[key]: said[key] for key in STACKED if key in said}
    group = "/".join(parts) or group_of(path)
    return FileName(stack + name[done:], coordinates, fields, group, tuple(spans))


def stack_name(name: str, spans: tuple[tuple[int, int, str], ...], last: Mapping[str, str]) -> str:
    """``name`` of a stack's first file, with the ``last`` coordinate behind each that varies: `z00-10`."""
    out, done = "", 0
    for _, end, axis in spans:
        out += name[done:end] + (f"-{last[axis]}" if axis in last else "")
        done = end
    return out + name[done:]


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which numbers inside a coordinate count as numbers."""
    parts = re.split(r"([0-9]+)", text)
    return tuple((1, int(p), "") if p.isdecimal() and p.isascii() else (0, 0, p) for p in parts)
