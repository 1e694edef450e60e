"""Folders that appear under their final name only when they are whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from organoseg.core.errors import RunError
from organoseg.core.files import PathLike, sync_folder


@contextlib.contextmanager
def atomic_folder(path: PathLike, replace: bool = False) -> Iterator[Path]:
    """An empty folder beside `path` that becomes it when the block ends without an error.

    What the block writes there is on the disk before the name is. On any error the folder goes, and what was at `path`
    stays as it was.

    Parameters
    ----------
    replace
        What was at `path` goes when the new one is whole. Without it only an empty folder may be there.

    Raises RunError when the folder cannot be written; errors of the block itself pass through.
    """
    target = Path(path)
    partial, old = (target.parent / f".tmp-{secrets.token_hex(8)}" for _ in range(2))
    try:
        partial.mkdir(parents=True)
        yield partial
        _sync(partial)
        if replace and target.exists():
            _put_in_place_of(target, partial, old)
        else:
            if target.exists():
                target.rmdir()
            rename_folder(partial, target)
    except OSError as error:
        named = error.filename
        if isinstance(named, str) and not _ours(Path(named), partial, target):
            raise
        raise RunError(
            f"Cannot write the folder: {error.strerror or error}",
            where=target,
            remedy="Check free space, permissions and the path, then run again",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _ours(named: Path, partial: Path, target: Path) -> bool:
    return named.is_relative_to(partial) or named in {target, *target.parents}


def _put_in_place_of(target: Path, partial: Path, old: Path) -> None:
    target.rename(old)
    try:
        rename_folder(partial, target)
    except OSError:
        if not target.exists():
            old.rename(target)
        raise


def rename_folder(partial: Path, target: Path) -> None:
    """Give a folder whose files are on the disk its name; the name survives a power cut. OSError when it cannot."""
    partial.rename(target)
    sync_folder(target.parent)


def _sync(folder: Path) -> None:
    """Every file and folder on the disk, so that a power cut after the rename finds them whole."""
    for below in folder.rglob("*"):
        if below.is_dir():
            sync_folder(below)
        elif below.is_file():
            with below.open("rb+") as handle:
                os.fsync(handle.fileno())
    sync_folder(folder)
