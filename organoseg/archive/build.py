"""An archive while it is being made: what is done is written down, so that a killed run goes on where it was."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from organoseg.archive.index import index_archive
from organoseg.archive.layout import (
    CHUNK,
    DUPLICATES,
    ERRORS,
    FORMAT,
    IMAGES,
    JOURNAL,
    image_path,
    lock_of,
    partial_of,
)
from organoseg.archive.picture import Picture, identity
from organoseg.archive.tables import table
from organoseg.archive.write_image import write_image
from organoseg.core import DataError, RunError, UsageError, pixel_hash
from organoseg.core.files import write_bytes
from organoseg.core.folders import rename_folder
from organoseg.core.locks import ProcessLock

_SYNC_SECONDS = 30.0


@dataclass
class Done:
    """What became of one job: images stored as (path, name, identity), pictures met before as (name, stored name),
    and errors as (file, reason)."""

    key: str
    stored: list[tuple[str, str, str]] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)


class Build:
    """The unfinished archive of ``out``, in a hidden folder beside it. `open_build` makes one."""

    def __init__(self, out: Path, journal: IO[str], chunk: int) -> None:
        self.out, self.root, self.chunk = out, partial_of(out), chunk
        self.done: dict[str, Done] = {}
        self._journal = journal
        self._names: dict[str, str] = {}
        self._count = 0
        self._synced = time.monotonic()

    @property
    def empty(self) -> bool:
        """Whether no image is stored yet."""
        return self._count == 0

    def start(self, command: dict[str, Any] | None) -> None:
        """Make the empty archive, whatever a run that was killed at once has left of one."""
        import zarr

        shutil.rmtree(self.root / IMAGES, ignore_errors=True)
        (self.root / "zarr.json").unlink(missing_ok=True)
        attributes = {"organoseg": {"format": FORMAT}}
        zarr.create_group(self.root, attributes=attributes).create_group(IMAGES)
        self._write({"command": command})

    def store(self, picture: Picture, done: Done) -> None:
        """Write an image, or note that the same picture is there already. Errors of its planes pass through."""
        path = image_path(self._count)
        hashes = write_image(self.root, path, picture, self.chunk)
        found = identity(picture.axes, hashes)
        if found in self._names:
            shutil.rmtree(self.root / path)
            done.duplicates.append((picture.name, self._names[found]))
            return
        done.stored.append((path, picture.name, found))
        self._names[found] = picture.name
        self._count += 1

    def finish(self, done: Done) -> None:
        """Write down that a job is done."""
        self._take(done)
        self._write({"job": done.key, **{k: getattr(done, k) for k in _PARTS}})
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            # What the journal says before this line has survived even a power cut.
            _sync()
            self._write({"synced": True})
            self._synced = time.monotonic()

    def abandon(self, done: Done) -> None:
        """Forget what an interrupted job had stored; its files are replaced when it is done again."""
        for _, _, found in done.stored:
            self._names.pop(found, None)
            self._count -= 1

    def _take(self, done: Done) -> None:
        self.done[done.key] = done

    def _write(self, line: dict[str, Any]) -> None:
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()

    def take_over(self, jobs: list[Done]) -> None:
        """What an earlier run has done."""
        for done in jobs:
            self._take(done)
            for _, name, found in done.stored:
                self._names[found] = name
                self._count += 1

    def complete(self) -> None:
        """Write the lists and give the archive its name. DataError, with nothing left, when it has no image."""
        errors = [row for done in self.done.values() for row in done.errors]
        duplicates = [row for done in self.done.values() for row in done.duplicates]
        if not self._count:
            raise _nothing_readable(errors)
        # Left by a run that was killed amid a stack.
        shutil.rmtree(self.root / image_path(self._count), ignore_errors=True)
        if errors:
            write_bytes(self.root / ERRORS, table(("file", "reason"), errors))
        if duplicates:
            write_bytes(self.root / DUPLICATES, table(("image", "stored as"), duplicates))
        # Its places are relative to it, so that it stays true under the final name.
        index_archive(self.root)
        # The name may only appear on disk after every chunk has.
        self._journal.close()
        _sync()
        rename_folder(self.root, self.out)
        (self.out / JOURNAL).unlink()


_PARTS = ("stored", "duplicates", "errors")


@contextlib.contextmanager
def open_build(out: Path, command: dict[str, Any] | None, chunk: int = CHUNK) -> Iterator[Build]:
    """Begin the archive ``out``, or go on with it where an earlier run of the same ``command`` stopped.

    Without a command it cannot be gone on with, and goes away when the block fails. UsageError when ``out`` exists,
    or an unfinished build of another command does, or another process is at it; RunError when the disk takes no more:
    what was done stays.
    """
    if out.exists():
        raise UsageError(
            "The archive exists already and is never overwritten",
            where=out,
            remedy="Give another name, or remove it yourself.",
        )
    with contextlib.ExitStack() as stack:
        try:
            root = partial_of(out)
            root.mkdir(parents=True, exist_ok=True)
            stack.callback(_lock(out).release, remove=True)
            journal = stack.enter_context((root / JOURNAL).open("a+", encoding="utf-8"))
            build = _begin(out, journal, command, chunk)
            try:
                yield build
            except BaseException as error:
                # Images that are stored are kept for the next run; without any there is nothing to keep.
                if command is None or (isinstance(error, DataError) and build.empty):
                    shutil.rmtree(root, ignore_errors=True)
                raise
        except OSError as error:
            kept = "What was done is kept: run the same command again to go on"
            raise RunError(
                f"The archive cannot be written: {error.strerror or error}",
                where=out,
                remedy=f"Check free space and permissions. {kept if command else 'Nothing was left'}.",
            ) from error


def _begin(out: Path, journal: IO[str], command: dict[str, Any] | None, chunk: int) -> Build:
    journal.seek(0)
    text = journal.read()
    lines, whole = _lines(text)
    build = Build(out, journal, chunk)
    if not lines:
        journal.truncate(0)
        build.start(command)
        return build
    if command is None or lines[0].get("command") != command:
        raise UsageError(
            "An unfinished build of another command lies there",
            where=partial_of(out),
            remedy=f"Run that command again ({_shown(lines[0])}), give another --out, or remove the folder.",
        )
    jobs, kept = _trusted(partial_of(out), lines[1:])
    if kept < len(lines) - 1 or whole < len(text):
        # Lines that are cut short, or name images that did not reach the disk, go.
        ends = [i + 1 for i, letter in enumerate(text) if letter == "\n"]
        journal.truncate(len(text[: ends[kept]].encode()))
    build.take_over(jobs)
    return build


def _lines(text: str) -> tuple[list[dict[str, Any]], int]:
    """Whole lines, and how many letters they take."""
    lines: list[dict[str, Any]] = []
    taken = 0
    for line in text.splitlines(keepends=True):
        try:
            if not line.endswith("\n"):
                break
            lines.append(json.loads(line))
        except ValueError:
            break
        taken += len(line)
    return lines, taken


def _trusted(root: Path, lines: list[dict[str, Any]]) -> tuple[list[Done], int]:
    """Jobs that are done, and the number of lines they take; images written after the last sync are read back."""
    synced = max((i for i, line in enumerate(lines) if "synced" in line), default=-1)
    jobs: list[Done] = []
    for number, line in enumerate(lines):
        if "synced" in line:
            continue
        done = Done(line["job"], *([tuple(row) for row in line[part]] for part in _PARTS))
        if number > synced and not all(_whole(root, path) for path, _, _ in done.stored):
            return jobs, number
        jobs.append(done)
    return jobs, len(lines)


def _whole(root: Path, path: str) -> bool:
    from organoseg.archive.store import stored_planes

    try:
        return all(pixel_hash(pixels) == digest for digest, pixels in stored_planes(root, path))
    except DataError:
        return False


def _shown(line: dict[str, Any]) -> str:
    command = line.get("command") or {}
    return f"archive create {' '.join(command.get('sources', ['...']))}"


def _lock(out: Path) -> ProcessLock:
    lock = ProcessLock(lock_of(out))
    if not lock.take(needed=False):
        raise UsageError(
            "Another process is making this archive",
            where=out,
            remedy="Wait for it, or give another --out.",
        )
    return lock


def _sync() -> None:
    if hasattr(os, "sync"):
        os.sync()


def _nothing_readable(errors: list[tuple[str, str]]) -> DataError:
    if not errors:
        return DataError("There are no images to archive", remedy="Give a folder that holds some.")
    shown = "; ".join(reason for _, reason in errors[:5])
    return DataError(
        f"None of {len(errors)} images could be read: {shown}",
        remedy="Check that they are whole and of a supported format.",
    )
