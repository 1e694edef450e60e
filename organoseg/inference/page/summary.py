"""The figures of a run, gathered a picture at a time."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.inference.part import Part, place_of

#: An organoid counts as overlapping when others cover more than this share of it.
OVERLAPPING = 0.1
_Sizes = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Picture:
    """What the page says of one picture.

    ``diameters_px``, ``diameters_um``: equivalent diameters of the organoids that the border does not cut, (N,); the
    second is None where the pixel size is unknown. ``border``: how many it cuts. ``overlapping``: how
    many others cover. ``classes``: how many of each.
    """

    key: str
    place: Mapping[str, str | None]
    count: int
    diameters_px: _Sizes
    diameters_um: _Sizes | None
    border: int
    overlapping: int
    classes: Mapping[str, int]
    warnings: tuple[str, ...]
    thumbnail: Path | None

    @property
    def well(self) -> str:
        """Plate and well as people write them, or "" where they are unknown."""
        return " ".join(v for v in (self.place["plate"], self.place["well"]) if v)


@dataclass(frozen=True, eq=False)
class Group:
    """Pictures that belong together: a well, a plate or a folder."""

    name: str
    pictures: tuple[Picture, ...]

    @property
    def count(self) -> int:
        """Organoids in all of them."""
        return sum(picture.count for picture in self.pictures)


@dataclass(frozen=True, eq=False)
class Summary:
    """All pictures of a run, in order."""

    pictures: tuple[Picture, ...]

    @property
    def count(self) -> int:
        """Organoids in all."""
        return sum(picture.count for picture in self.pictures)

    @property
    def unit(self) -> str:
        """µm where a pixel size is known, else px."""
        return "µm" if any(p.diameters_um is not None for p in self.pictures) else "px"

    def sizes(self, pictures: Iterable[Picture] | None = None) -> _Sizes:
        """Diameters (N,) in `unit` of the organoids of some pictures, or all; pictures without that unit have none."""
        chosen = self.pictures if pictures is None else pictures
        known = (p.diameters_um if self.unit == "µm" else p.diameters_px for p in chosen)
        found = [sizes for sizes in known if sizes is not None]
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def classes(self) -> Counter[str]:
        """Organoids of each class, the most frequent first."""
        total: Counter[str] = Counter()
        for picture in self.pictures:
            total.update(picture.classes)
        return Counter(dict(total.most_common()))

    def grouping(self) -> str:
        """What `groups` are: well, plate or folder."""
        if any(p.place["well"] for p in self.pictures):
            return "well"
        return "plate" if any(p.place["plate"] for p in self.pictures) else "folder"

    def groups(self) -> list[Group]:
        """The pictures by well, plate or folder, in the order in which people count."""
        kind = self.grouping()
        found: dict[str, list[Picture]] = defaultdict(list)
        for picture in self.pictures:
            folder = str(PurePosixPath(picture.key).parent)
            name = {"well": picture.well, "plate": picture.place["plate"], "folder": folder}[kind]
            found[name or "unknown"].append(picture)
        return [Group(name, tuple(found[name])) for name in sorted(found, key=natural)]

    def remarks(self) -> list[tuple[str, list[str]]]:
        """Each warning and the pictures that have it, the most frequent first."""
        found: dict[str, list[str]] = defaultdict(list)
        for picture in self.pictures:
            for warning in dict.fromkeys(picture.warnings):
                # Sentences that name their picture are one remark about several.
                found[warning.replace(picture.key, "the picture")].append(picture.key)
        return sorted(found.items(), key=lambda item: -len(item[1]))


def summarise(parts: Iterable[Part]) -> Summary:
    """Read the facts of every part once; no more than figures are kept of any."""
    return Summary(tuple(_picture(part) for part in parts))


def _picture(part: Part) -> Picture:
    facts, rows = part.facts, part.facts["rows"]
    whole = [row for row in rows if not row["touches_border"]]
    known = facts["pixel_size"] is not None
    return Picture(
        key=part.key,
        place=place_of(facts["fields"]),
        count=int(facts["count"]),
        diameters_px=_column(whole, "equivalent_diameter_px"),
        diameters_um=_column(whole, "equivalent_diameter_um") if known else None,
        border=len(rows) - len(whole),
        overlapping=sum(row["overlap_fraction"] > OVERLAPPING for row in rows),
        classes=Counter(str(row["class"]) for row in rows),
        warnings=tuple(facts["warnings"]),
        thumbnail=part.thumbnail,
    )


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> _Sizes:
    return np.array([row[name] for row in rows], np.float32)


def natural(text: str) -> list[tuple[int, int, str]]:
    """A key that sorts A2 before A10."""
    pieces = re.findall(r"(\d+)|(\D+)", text)
    return [(0, int(digits), "") if digits else (1, 0, word) for digits, word in pieces]
