"""Where stores are, as a catalogue keeps it: what lies beside or around it may move with it."""

from __future__ import annotations

from pathlib import Path

from organoseg.archive.byte_store import is_remote

_HERE = "./"


def kept_name(url: str, home: Path) -> str:
    """How the catalogue in the folder ``home`` names a store: relative where the store is that folder or below it."""
    if is_remote(url):
        return url
    root, place = home.absolute(), Path(url)
    return _HERE + place.relative_to(root).as_posix() if place.is_relative_to(root) else url


def place_of(name: str, home: Path) -> str:
    """The store of a name that `kept_name` made: a URL or an absolute path."""
    if not name.startswith(_HERE):
        return name
    return str(home.absolute() / name.removeprefix(_HERE))
