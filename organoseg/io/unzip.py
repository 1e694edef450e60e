"""Zip archives from strangers: everything stays inside, nothing is a link, nothing grows beyond belief."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from organoseg.core import DataError

#: What an archive may grow to, whatever its size, and how many times its own size beyond that.
FREE_BYTES = 2 << 30
MOST_RATIO = 200
MOST_MEMBERS = 1_000_000
_CHUNK = 1 << 20
# What Windows takes for a device wherever it stands, and letters that it has no room for.
_FORBIDDEN = set('<>:"|?*\\') | {chr(code) for code in range(32)}


@dataclass(frozen=True)
class Rules:
    """What an archive may hold beside what any may, and the words of its refusal.

    Parameters
    ----------
    thing
        What it is to its reader.
    refused
        Before the name of a member that may not be in it, and what is wrong with that one.
    ask, mend, by_hand
        What to do about a member that may not be in it, about damage, and about one that grows too much.
    names
        What every member's name has to match; None: any name.
    foreign
        What is wrong with a name that does not match.
    needed
        Names that have to be in it.
    ratio
        How many times its packed size a member of more than a MiB may have; None: as deflate can.
    """

    thing: str = "archive"
    refused: str = "The archive is refused"
    ask: str = "Ask whoever sent it, or unpack it by hand where you can look at it."
    mend: str = "Download or copy it again, or unpack it by hand and give the folder."
    by_hand: str = "If you trust it, unpack it by hand and give the folder."
    names: re.Pattern[str] | None = None
    foreign: str = "does not belong there"
    needed: frozenset[str] = frozenset()
    ratio: int | None = None


ANY = Rules()


@contextlib.contextmanager
def opened(path: Path, rules: Rules = ANY) -> Iterator[zipfile.ZipFile]:
    """An archive whose table of contents was looked through.

    Raises DataError for one that cannot be read, is damaged or encrypted (also while the block reads it), or holds
    names that lead out, links, doubles, more than can be believed, or what ``rules`` do not allow.
    """
    try:
        source = path.open("rb")
    except FileNotFoundError as error:
        raise DataError("There is no such file", where=path, remedy="Check the path.") from error
    except OSError as error:
        raise DataError(
            f"The {rules.thing} cannot be read: {error.strerror or error}",
            where=path,
            remedy="Check the path and its permissions.",
        ) from error
    with source:
        try:
            with zipfile.ZipFile(source) as bundle:
                _check(bundle.infolist(), path, rules)
                yield bundle
        except OSError as error:
            # A damaged table of contents sends the reader to places that no file has. All else is the disk's.
            if error.errno != errno.EINVAL:
                raise
            raise _damaged(path, error, rules) from error
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,  # a compression that Python lacks
            EOFError,
            RuntimeError,  # encrypted
        ) as error:
            raise _damaged(path, error, rules) from error


def _damaged(path: Path, error: Exception, rules: Rules) -> DataError:
    return DataError(
        f"The {rules.thing} is damaged, or not one that can be read: {error}",
        where=path,
        remedy=rules.mend,
    )


def unpack(path: Path, folder: Path, rules: Rules = ANY) -> None:
    """Write an archive's files into ``folder``; all are checked before the first is written.

    Raises DataError as `opened` does, and when the disk has no room for them.
    """
    with opened(path, rules) as bundle:
        files = [member for member in bundle.infolist() if not member.is_dir()]
        needed = sum(member.file_size for member in files)
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise DataError(
                f"The {rules.thing} needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB left",
                where=path,
                remedy="Make room, or choose a folder on another disk.",
            )
        for member in files:
            target = folder / PurePosixPath(member.filename)
            target.parent.mkdir(parents=True, exist_ok=True)
            with bundle.open(member) as part, target.open("xb") as sink:
                shutil.copyfileobj(part, sink, _CHUNK)


def _check(members: list[zipfile.ZipInfo], path: Path, rules: Rules) -> None:
    seen: set[str] = set()
    above = {str(folder) for m in members for folder in PurePosixPath(m.filename).parents}
    for member in members:
        problem = _problem(member, rules)
        if not problem and not member.is_dir() and member.filename in above:
            problem = "is a file and a folder"
        # Two names that a disk takes for one would overwrite each other.
        key = unicodedata.normalize("NFC", member.filename.rstrip("/")).casefold()
        if not problem and key in seen and not member.is_dir():
            problem = "is in it twice"
        seen.add(key)
        if problem:
            raise DataError(
                f"{rules.refused}: {member.filename!r} {problem}", where=path, remedy=rules.ask
            )
    missing = rules.needed - {member.filename for member in members}
    if missing:
        raise DataError(
            f"The {rules.thing} has no {' and no '.join(sorted(missing))}",
            where=path,
            remedy=rules.mend,
        )
    whole = sum(member.file_size for member in members)
    most = max(FREE_BYTES, MOST_RATIO * path.stat().st_size)
    if whole > most or len(members) > MOST_MEMBERS:
        raise DataError(
            f"{rules.refused}: it would grow to {whole / 1e9:.1f} GB in {len(members)} files, "
            f"{whole / max(path.stat().st_size, 1):.0f} times its size",
            where=path,
            remedy=rules.by_hand,
        )


def _problem(member: zipfile.ZipInfo, rules: Rules) -> str:
    name = member.orig_filename
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "." in name.split("/"):
        return "leads out of the folder"
    if set(name) & _FORBIDDEN or any(part != part.rstrip(" .") for part in parts):
        return "has a name that not every disk can hold"
    if rules.names is not None and not rules.names.fullmatch(name):
        return rules.foreign
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or no plain file"
    most = None if rules.ratio is None else max(_CHUNK, rules.ratio * member.compress_size)
    if most is not None and member.file_size > most:
        return "would grow beyond belief when unpacked"
    return ""
