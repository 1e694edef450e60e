"""Lines of the journal, and which of them undo and redo speak of."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from organoseg.core import DataError
from organoseg.review.records import checked
from organoseg.review.state import Change, ImageState

UNDO, REDO = "undo", "redo"


@dataclass(frozen=True)
class Entry:
    """One line: an action on an image, or the undo or redo (``of``: its number) of one.

    complete: what the image's mark becomes, None where it stays; was: what it was. seconds: the reviewer's time.
    """

    number: int
    action: str
    image: str
    changes: tuple[Change, ...] = ()
    complete: bool | None = None
    was: bool | None = None
    of: int | None = None
    seconds: float = 0.0
    reviewer: str = ""
    at: str = ""
    model: str = ""
    version: str = ""

    @property
    def organoids(self) -> tuple[int, ...]:
        """Ids that it touches, each once, in order."""
        return tuple(dict.fromkeys(n for change in self.changes for n in change.ids))

    def record(self) -> dict[str, Any]:
        """The entry as JSON; what says nothing is left out."""
        record: dict[str, Any] = {"n": self.number, "action": self.action, "image": self.image}
        if self.changes:
            record["changes"] = [
                {"ids": list(c.ids), "before": _plain(c.before), "after": _plain(c.after)}
                for c in self.changes
            ]
        for name in ("complete", "was", "of"):
            if getattr(self, name) is not None:
                record[name] = getattr(self, name)
        record |= {
            "seconds": round(self.seconds, 2),
            "reviewer": self.reviewer,
            "at": self.at,
            "model": self.model,
            "version": self.version,
        }
        return record


def _plain(fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if fields is None else dict(fields)


def entry_of(record: Mapping[str, Any]) -> Entry:
    """The entry of a line; DataError when a field is missing or says what cannot be."""
    line = checked(record)
    # The plain fields as they were read: those that are absent do not change.
    changes = tuple(
        Change(tuple(c["ids"]), c["before"], c["after"]) for c in record.get("changes", ())
    )
    return Entry(
        line.n,
        line.action,
        line.image,
        changes,
        line.complete,
        line.was,
        line.of,
        line.seconds,
        line.reviewer,
        line.at,
        line.model,
        line.version,
    )


@dataclass
class _Stacks:
    """What can be undone and redone in one image; each item: (number of the line that put it there, entry)."""

    done: list[tuple[int, Entry]] = field(default_factory=list)
    undone: list[tuple[int, Entry]] = field(default_factory=list)


@contextlib.contextmanager
def many_objects() -> Iterator[None]:
    """No garbage collection meanwhile: a long journal is 100,000 objects, none of them garbage, and looking for some
    in between costs a third of the time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class History:
    """All lines so far. Undo takes back the latest action of any image; images do not disturb each other.

    A new action in an image makes what was undone *there* final.
    """

    def __init__(self, records: Sequence[Mapping[str, Any]] = ()) -> None:
        self.entries: list[Entry] = []
        self._stacks: dict[str, _Stacks] = {}
        self._by_image: dict[str, list[Entry]] = {}
        for record in records:
            self.add(entry_of(record))

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, entry: Entry) -> None:
        """Note the next line; DataError when its number or what it takes back does not follow."""
        if entry.number != len(self.entries) + 1:
            raise DataError(f"Line {entry.number} of the journal follows line {len(self.entries)}")
        stacks = self._stacks.setdefault(entry.image, _Stacks())
        if entry.action in (UNDO, REDO):
            source, target = (
                (stacks.done, stacks.undone)
                if entry.action == UNDO
                else (stacks.undone, stacks.done)
            )
            if not source or source[-1][1].number != entry.of:
                raise DataError(f"Line {entry.number} of the journal has nothing to {entry.action}")
            target.append((entry.number, source.pop()[1]))
        else:
            stacks.done.append((entry.number, entry))
            stacks.undone.clear()
        self.entries.append(entry)
        self._by_image.setdefault(entry.image, []).append(entry)

    def to_undo(self, image: str | None = None) -> Entry | None:
        """The action that undo takes back, in one image or in any."""
        tops = [s.done[-1] for s in self._chosen(image) if s.done]
        return max(tops, key=lambda top: top[0])[1] if tops else None

    def to_redo(self, image: str | None = None) -> Entry | None:
        """The action that redo brings back, in one image or in any."""
        tops = [s.undone[-1] for s in self._chosen(image) if s.undone]
        return max(tops, key=lambda top: top[0])[1] if tops else None

    def _chosen(self, image: str | None) -> list[_Stacks]:
        if image is None:
            return list(self._stacks.values())
        return [self._stacks[image]] if image in self._stacks else []

    def of_image(self, image: str) -> Sequence[Entry]:
        """All lines of one image, undone ones and undos too."""
        return self._by_image.get(image, ())

    def standing(self, image: str) -> list[Entry]:
        """The actions of an image that are in force, in order."""
        stacks = self._stacks.get(image)
        return [entry for _, entry in stacks.done] if stacks else []

    @property
    def images(self) -> list[str]:
        """Images with at least one line."""
        return list(self._by_image)

    def set_aside(self, image: str) -> None:
        """Keep an image's lines in the count, but neither show nor undo them: the image is not here."""
        self._stacks.pop(image, None)
        self._by_image.pop(image, None)

    def fold(self, image: str, state: ImageState) -> ImageState:
        """``state`` after all that was done in its image. DataError when a line does not fit it."""
        # Undone actions have no effect but that their ids stay taken.
        state.replay([(entry.changes, entry.complete) for entry in self.standing(image)])
        taken = [n for entry in self.of_image(image) for n in entry.organoids]
        state.first_free = max([state.first_free, *(n + 1 for n in taken)])
        return state


def inverse(entry: Entry) -> tuple[tuple[Change, ...], bool | None]:
    """Changes and mark that take an entry back."""
    mark = entry.was if entry.complete is not None else None
    return tuple(change.inverse() for change in reversed(entry.changes)), mark
