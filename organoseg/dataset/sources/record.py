"""What an import took, what it left out, and where everything came from."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from organoseg.core import write_json

FILE = "import.json"


@dataclass(frozen=True)
class ImageRecord:
    """Where one image and its labels came from.

    image: its path below the source; labels: files and their sha256; key: hash of the pixels; sources: how many of its
    organoids were drawn by whom, where that is known.
    """

    image: str
    image_sha256: str
    labels: dict[str, str]
    key: str
    group: str
    side: str
    organoids: int
    sources: dict[str, int]


@dataclass
class ImportReport:
    """The outcome of an import.

    classes: names by id; organoids by class name. left_out: images and drawings that are not in the set, by the reason;
    repaired: what was changed, by its fault; notes: what else a person should know.
    """

    out: Path
    importer: str
    title: str
    source: dict[str, Any]
    rules: dict[str, Any]
    classes: dict[int, str] = field(default_factory=dict)
    organoids: Counter[str] = field(default_factory=Counter)
    sides: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)
    repaired: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    images: dict[str, ImageRecord] = field(default_factory=dict)

    def leave_out(self, reason: str, who: str) -> None:
        """Count something that is not in the set."""
        self.left_out.setdefault(reason, []).append(who)

    def repair(self, fault: str, who: str) -> None:
        """Count something that was changed."""
        self.repaired.setdefault(fault, []).append(who)

    def save(self, folder: Path) -> None:
        """Write it into the data set."""
        from organoseg import __version__

        write_json(
            folder / FILE,
            {
                "format": "organoseg import 1",
                "organoseg": __version__,
                "importer": self.importer,
                "source": self.source,
                "rules": self.rules,
                "classes": self.classes,
                "organoids": dict(self.organoids),
                "sides": dict(self.sides),
                "left_out": self.left_out,
                "repaired": self.repaired,
                "notes": self.notes,
                "images": {name: asdict(record) for name, record in self.images.items()},
            },
        )

    def lines(self) -> list[str]:
        """What to tell a person."""
        sides = ", ".join(f"{count} {side}" for side, count in self.sides.items())
        classes = ", ".join(f"{count} {name}" for name, count in self.organoids.items())
        found = [
            f"{self.out}: {len(self.images)} images ({sides}) from {self.title}",
            f"organoids: {classes or 'none'}",
        ]
        if self.empty:
            found.append(f"images on which there is no organoid: {self.empty}")
        for title, kinds in (("left out", self.left_out), ("repaired", self.repaired)):
            found += [f"{title}: {len(who)} x {kind}" for kind, who in kinds.items()]
        return found + [f"note: {note}" for note in self.notes]
