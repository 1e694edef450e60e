"""Whether a file is the published one: digests, what a publisher states, and what was found at the first use."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from organoseg.core import DataError, write_text

_CHUNK = 1 << 20
#: How a file begins that git left in the place of a large one.
_POINTER = b"version https://git-lfs"


def digests(path: Path, checksum: str | None = None) -> dict[str, str]:
    """sha256 of a file, and its md5 where ``checksum`` is one: some publishers state nothing better."""
    sums = {"sha256": hashlib.sha256()}
    if checksum is not None and checksum.startswith("md5:"):
        sums["md5"] = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            for digest in sums.values():
                digest.update(block)
    return {name: digest.hexdigest() for name, digest in sums.items()}


def kind_of(checksum: str) -> str:
    """``sha256`` or ``md5``."""
    algorithm, colon, _ = checksum.rpartition(":")
    return algorithm if colon else "sha256"


def matches(found: dict[str, str], checksum: str) -> bool:
    """Whether digests agree with ``sha256:...`` or ``md5:...`` or bare digits of a sha256, or their beginning."""
    return found[kind_of(checksum)].startswith(checksum.rpartition(":")[2].lower())


def shown(found: dict[str, str]) -> str:
    """Digests as a message shows them: the first digits."""
    return " and ".join(f"{name}:{digits[:8]}..." for name, digits in found.items())


def record_of(path: Path) -> Path:
    """Where the sha256 of a file is kept, in the form that ``sha256sum --check`` reads."""
    return path.with_name(path.name + ".sha256")


def recorded(path: Path) -> str | None:
    """The sha256 that was found at the first use of a file here; None: it was not used before."""
    record = record_of(path)
    if not record.is_file():
        return None
    return next(iter(record.read_text(encoding="utf-8").split()), "")


def record(path: Path, sha256: str) -> None:
    """Keep the sha256 of a file beside it."""
    write_text(record_of(path), f"{sha256}  {path.name}\n")


def verify(path: Path, checksum: str | None, where: str | None = None) -> None:
    """Assert that a file is the published one, and the one that it was when it was first used here.

    Where no checksum is known the content of the first use is recorded beside the file.

    Raises
    ------
    DataError
        It is not.
    """
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise DataError(
                "the file is only git's note of where the weights lie",
                where=path,
                remedy="Type `git lfs pull` in the repository's folder, or download the file itself.",
            )
    found = digests(path, checksum)
    remedy = f"Delete {path} to have it downloaded again, or give a file's path instead of a name."
    if checksum is not None and not matches(found, checksum):
        raise DataError(
            f"the file is not the published one: its checksum is {shown(found)}, stated is {checksum}",
            where=where or path,
            remedy=remedy,
        )
    known = recorded(path)
    if known is None:
        if os.access(path.parent, os.W_OK):
            record(path, found["sha256"])
    elif known != found["sha256"]:
        name = record_of(path)
        raise DataError(
            f"the file is not the one that was first used here ({name.name} says another sha256)",
            where=path,
            remedy=f"{remedy} If you put another file there on purpose, delete {name}.",
        )
