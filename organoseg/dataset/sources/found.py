"""What an importer finds in a source: images, how their labels are read, and what is wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Instances, Mask
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.splits import Side
from organoseg.io.drawn import Box, Drawn, Sheet, rasterise

#: How `Instances.sources` marks a mask that is a guess from a box.
FROM_BOX = "box"
_SHOWN = 5
_MOST_KINDS = 12
# Pixels that touch at a corner belong together.
_NEIGHBOURS = np.ones((3, 3), np.int8)


@dataclass
class Faults:
    """Offenders by kind of fault, so that one message shows all kinds at once."""

    kinds: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, who: str) -> None:
        """Note one."""
        self.kinds[kind].append(who)

    def settle(self, source: Path) -> None:
        """DataError when there is a fault: nothing is imported then."""
        if not self.kinds:
            return
        count = sum(map(len, self.kinds.values()))
        shown = [f"{kind}: {some(who)}" for kind, who in list(self.kinds.items())[:_MOST_KINDS]]
        more = len(self.kinds) - _MOST_KINDS
        rest = f"; and {more} more kinds" if more > 0 else ""
        raise DataError(
            f"Nothing was imported, because of {count} fault{'s' * (count > 1)}: {'; '.join(shown)}{rest}",
            where=source,
            remedy=" ".join(dict.fromkeys(remedies(self.kinds))),
        )


def some(names: list[str]) -> str:
    """The first of many."""
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


# Kinds of fault that the user can decide about, and what to say then.
NO_LABELS = "image without labels"
NO_IMAGE = "labels of a missing image"
WRONG_SIZE = "labels of another size than the image"
BOXES = "box, which is no mask"
FOREGROUND = "label image of one value in several pieces, which is foreground without numbers"
CLASS = "unknown class"
TWICE = "the same picture on two sides"

_REMEDIES = {
    NO_LABELS: "Images without labels: --without-labels leave-out, or empty if nothing is on them.",
    NO_IMAGE: "Put the images beside their labels, or name their folder: --images DIR.",
    WRONG_SIZE: "Give the images that were outlined, not scaled or cropped copies.",
    BOXES: "A box says where an organoid is, not its pixels: --boxes ellipse takes the ellipse in it (a guess, and "
    "marked as one), --boxes leave-out does without.",
    FOREGROUND: "--pieces takes each connected piece for an organoid; organoids that touch become one.",
    CLASS: "Name them all (--classes A,B), leave some out (--skip-classes C), or --one-class.",
    TWICE: "--repair takes them out of training.",
}
_REPAIR = "--repair cuts what reaches out of its image and leaves out what covers nothing; each is counted."
_REPAIRABLE = (
    "reaches out",
    "out of bounds",
    "covers no pixel",
    "without a pixel",
    "fewer than 3 points",
    "empty",
)
_OTHERWISE = "Mend the files in the program that made them, or export or copy them again."


def remedies(kinds: dict[str, list[str]]) -> list[str]:
    """What to do about each kind."""
    return [_remedy(kind) for kind in kinds]


def _remedy(kind: str) -> str:
    repairable = any(word in kind.casefold() for word in _REPAIRABLE)
    return _REMEDIES.get(kind, _REPAIR if repairable else _OTHERWISE)


@dataclass
class Content:
    """The organoids of one image while they are gathered.

    skipped: kinds of drawings that are no organoids. one_number: they are those of a label image that has one number.
    scattered: how many of a label image's organoids lie in separate pieces.
    """

    size: tuple[int, int]
    masks: list[Mask] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    ignored: Instances | None = None
    skipped: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str]] = field(default_factory=list)
    mended: list[tuple[str, str]] = field(default_factory=list)
    one_number: bool = False
    scattered: int = 0

    def add(self, mask: Mask, label: str = "", source: str = "") -> None:
        """One organoid more."""
        self.masks.append(mask)
        self.labels.append(label)
        self.sources.append(source)


@dataclass(frozen=True)
class Entry:
    """An image and its labels.

    name: below the source, with ``/``; image: its file; files: what its labels are read from; side: what the source's
    own folders say; load: its organoids, given the image's (height, width).
    """

    name: str
    image: Path
    files: tuple[Path, ...]
    load: Callable[[tuple[int, int]], Content]
    side: Side | None = None


@dataclass
class Survey:
    """All that was found. unlabelled: images of folders where others have labels."""

    entries: list[Entry] = field(default_factory=list)
    unlabelled: list[tuple[str, Path, Side | None]] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    mended: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def of_sheet(sheet: Sheet, size: tuple[int, int], rules: Rules) -> Content:
    """The organoids of what was drawn, by the rules."""
    content = Content(size, skipped=Counter(sheet.skipped))
    if sheet.size is not None and sheet.size != size:
        content.faults.append((WRONG_SIZE, f"{_size(sheet.size)}, the image is {_size(size)}"))
        return content
    for drawn in sheet.drawn:
        if drawn.label and drawn.label in rules.skip_classes:
            content.skipped[f"class {drawn.label}"] += 1
        elif drawn.fault:
            content.faults.append((drawn.fault, drawn.who))
        else:
            _take(content, drawn, rules)
    return content


def _take(content: Content, drawn: Drawn, rules: Rules) -> None:
    is_box = isinstance(drawn.shape, Box)
    if is_box and rules.boxes == "refuse":
        content.faults.append((BOXES, drawn.who))
        return
    if is_box and rules.boxes == "leave-out":
        content.skipped["box"] += 1
        return
    decoded = rasterise(drawn.shape, content.size)
    for fault in decoded.faults:
        mended = content.mended if rules.repair and decoded.repaired else content.faults
        mended.append((fault, drawn.who))
    if decoded.mask is not None:
        content.add(decoded.mask, drawn.label, FROM_BOX if is_box else drawn.source)


def of_labels(
    labels: NDArray[np.int64], size: tuple[int, int], rules: Rules, sources: tuple[str, ...] = ()
) -> Content:
    """The organoids of a label image; ``sources``: who drew those of number 1, 2, ..."""
    from scipy import ndimage

    content = Content(size)
    if labels.shape != size:
        content.faults.append((WRONG_SIZE, f"{_size(labels.shape)}, the image is {_size(size)}"))
        return content
    values = np.unique(labels)
    values = values[values > 0]
    content.one_number = len(values) == 1 and not rules.pieces
    if rules.pieces or len(values) == 1:
        pieces, count = ndimage.label(labels > 0, _NEIGHBOURS)
        if rules.pieces:
            labels = pieces.astype(np.int64)
        elif count > 1:
            content.faults.append((FOREGROUND, f"{count} pieces"))
            return content
    found = Instances.from_labels(labels)
    for number, mask in zip(found.ids.tolist(), found, strict=True):
        who = sources[number - 1] if number <= len(sources) and not rules.pieces else ""
        content.add(mask, source=who)
        content.scattered += ndimage.label(mask.bits, _NEIGHBOURS)[1] > 1
    return content


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
