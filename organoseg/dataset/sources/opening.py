"""From what the user named, a folder, a zip or a file of labels, to the files in it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from organoseg.core import DataError, RunError, file_hash
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree, side_of, walk
from organoseg.io.roi_in import is_roi_zip
from organoseg.io.unzip import unpack


@contextlib.contextmanager
def opened_tree(source: Path, beside: Path, rules: Rules, below: str) -> Iterator[Tree]:
    """The files of a source; what an archive holds is unpacked into the folder ``beside``, and gone afterwards.

    below: only the folder of this name. Raises DataError when there is nothing, an archive is refused (see
    `organoseg.io.unzip`) or none that is read, or there is no such folder in it.
    """
    try:
        beside.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(beside, error) from error
    if not source.exists():
        raise DataError("There is no such file or folder", where=source, remedy="Check the path.")
    if rules.images is not None and not rules.images.exists():
        raise DataError("There are no images there", where=rules.images, remedy="Check --images.")
    if source.is_file() and source.suffix.lower() == ".zip" and not is_roi_zip(source):
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=beside) as place:
            # Groups are named by folders: one that is called by chance would change from run to run.
            root = Path(place) / source.stem
            try:
                unpack(source, root)
            except OSError as error:
                raise _unwritable(beside, error) from error
            yield _folder(source, _only(root), rules, below)
    elif source.is_file():
        if source.suffix.lower() in (".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"):
            raise DataError(
                "Only zip archives are unpacked",
                where=source,
                remedy="Unpack it, and give the folder.",
            )
        yield Tree(source, source.parent, (source,), rules.images or source.parent)
    else:
        yield _folder(source, source, rules, below)


def _unwritable(folder: Path, error: OSError) -> RunError:
    return RunError(
        f"Cannot write into the folder: {error.strerror or error}",
        where=folder,
        remedy="Check free space, permissions and the path, then run again.",
    )


def _folder(source: Path, root: Path, rules: Rules, below: str) -> Tree:
    root = _below(root, below) if below else root
    return Tree(source, root, tuple(walk(root)), rules.images or root)


def _below(root: Path, below: str) -> Path:
    """The uppermost folder that is called so: people give a set's folder, or one around it, or one inside."""
    if root.resolve().name == below:
        return root
    found = sorted((p for p in root.rglob(below) if p.is_dir()), key=lambda p: len(p.parts))
    if not found:
        raise DataError(f"The source has no folder {below!r}", where=root)
    return found[0]


def _only(root: Path) -> Path:
    """Archives often hold one folder with everything in it. One that says a side says something, and stays."""
    inside = [p for p in root.iterdir() if not p.name.startswith(".") and p.name != "__MACOSX"]
    alone = len(inside) == 1 and inside[0].is_dir() and side_of(f"{inside[0].name}/x") is None
    return inside[0] if alone else root


def origin_of(source: Path) -> dict[str, Any]:
    """What the record of an import says of its source."""
    facts: dict[str, Any] = {"path": str(source)}
    if source.is_file():
        facts["sha256"] = file_hash(source)
    return facts
