"""An unfinished download: under a hidden name, with a word on what it belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def version_in(headers: Any) -> str:
    """How the headers of an answer tell versions of a file apart; "": they do not."""
    tag = headers.get("ETag") or ""
    if not tag or tag.startswith("W/"):  # a weak one may not be asked for
        tag = headers.get("Last-Modified") or ""
    return str(tag)


class Partial:
    """What has come so far of the file that will be ``target``.

    Beside the bytes lies a note: the address that they came from, and how the server tells versions of the file apart.
    Bytes without their note, or from another address, are never gone on with.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f".{target.name}.part")
        self._note = target.with_name(f".{target.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def version(self, url: str) -> str | None:
        """The version that these bytes are of, "" where the server named none; None: not known to be of ``url``."""
        try:
            note = json.loads(self._note.read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(note, dict) or note.get("url") != url:
            return None
        return str(note.get("version", ""))

    def belongs(self, url: str, headers: Any) -> None:
        """Note where the bytes come from, and the version as the headers of an answer name it."""
        # Not atomic: a note cut short cannot be read, and then nothing is gone on with.
        note = {"url": url, "version": version_in(headers)}
        self._note.write_text(json.dumps(note), encoding="utf-8")

    def empty(self) -> None:
        """Begin again. The bytes go first: they must never lie beside the note of others."""
        self.path.write_bytes(b"")

    def finish(self, target: Path) -> None:
        """Give the bytes their final name."""
        self.path.replace(target)
        self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the bytes and their note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
