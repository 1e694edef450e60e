"""The folder of results: where everything lies, and which items are done."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from organoseg.core import DataError, read_json, write_json

if TYPE_CHECKING:
    from organoseg.inference.items import Item

SETTINGS, ERRORS, RUN = "predict.json", "errors.csv", "run.json"
#: Folders of what a second run goes on from: organoids, table rows and a small picture of each image.
PARTS, FACTS, THUMBNAILS, ITEMS = "parts", "facts", "thumbnails", "items"


def part_path(out: Path, key: str) -> Path:
    """A picture's organoids; written last, so that it says that the rest is there."""
    return out / PARTS / f"{key}.json"


def facts_path(out: Path, key: str) -> Path:
    """A picture's row in every table."""
    return out / FACTS / f"{key}.json"


def thumbnail_path(out: Path, key: str) -> Path:
    """A picture's place in the gallery."""
    return out / THUMBNAILS / f"{key}.jpg"


def safe_key(name: str) -> str:
    """A name as a relative path that stays below its folder: no drive, no root, no `..`."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    kept = [part.replace(":", "_") for part in parts if part not in ("/", "..", ".")]
    return "/".join(kept) or "image"


@dataclass(frozen=True)
class Record:
    """What became of an item: its source files as they were, its pictures, and whether all of them came out."""

    sources: list[list[Any]]
    keys: list[str] | None
    failed: bool = False


def record_path(out: Path, item: Item) -> Path:
    """Where an item's record lies."""
    return out / ITEMS / f"{safe_key(item.name)}.json"


def read_record(out: Path, item: Item) -> Record | None:
    """The record of an earlier run; None where there is none that can be read."""
    path = record_path(out, item)
    try:
        found = read_json(path)
        return Record(list(found["sources"]), found["keys"], bool(found["failed"]))
    except (DataError, KeyError, TypeError):
        return None


def write_record(out: Path, item: Item, keys: Sequence[str] | None, failed: bool = False) -> None:
    """Say what is known of an item; ``keys`` None: it was begun."""
    path = record_path(out, item)
    path.parent.mkdir(parents=True, exist_ok=True)
    known = None if keys is None else list(keys)
    write_json(path, {"sources": item.sources(), "keys": known, "failed": failed}, indent=None)


@dataclass(frozen=True)
class Todo:
    """What is left of an item: nothing (``done``), or the ``wanted`` pictures; ``anew``: trust nothing there."""

    done: bool
    anew: bool
    wanted: Callable[[str], bool]


def left_of(out: Path, item: Item, whole: Callable[[str], bool]) -> Todo:
    """What is left to do. ``whole`` tells whether all files of a picture are there.

    An item whose sources have changed is done anew, and so is a stack of files of which something failed: with the
    plane that was missing, another one may be in focus. Of any other item only the missing pictures are done.
    """
    record = read_record(out, item)
    if record is None or record.sources != item.sources():
        return Todo(False, True, lambda key: True)
    if record.failed and len(item.files) > 1:
        return Todo(False, True, lambda key: True)
    if record.keys is not None and not record.failed and all(map(whole, record.keys)):
        return Todo(True, False, lambda key: False)
    return Todo(False, False, lambda key: not whole(key))


def forget(out: Path, item: Item) -> None:
    """Remove what is known of an item's pictures: it is of other pixels."""
    if read_record(out, item) is None:
        return
    part = part_path(out, item.name)
    own = re.compile(re.escape(item.name.rpartition("/")[2]) + r"(\.s\d+)?(\.t\d+)?(\.z\d+)?\.json")
    for path in part.parent.iterdir() if part.parent.is_dir() else ():
        if own.fullmatch(path.name):
            path.unlink(missing_ok=True)


def keys_of(out: Path, items: Iterable[Item]) -> list[str]:
    """The pictures of items, in their order, as far as they are done."""
    found: list[str] = []
    for item in items:
        record = read_record(out, item)
        found += [k for k in (record.keys or () if record else ()) if part_path(out, k).is_file()]
    return found
