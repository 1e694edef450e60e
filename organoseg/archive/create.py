"""Making an archive: read every image once, store each picture once, and only then name it."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from organoseg.archive.build import Build, Done, open_build
from organoseg.archive.byte_store import is_remote
from organoseg.archive.entry import Progress
from organoseg.archive.file_planes import (
    FileFault,
    FileStack,
    Misfit,
    SourceFile,
    by_form,
    rectangles,
)
from organoseg.archive.grammar import Grammar
from organoseg.archive.layout import CHUNK
from organoseg.archive.picture import picture_of
from organoseg.archive.sources import Job, StackJob, StoreJob, find_jobs
from organoseg.archive.store import Archive
from organoseg.archive.store_planes import Absent, store_picture
from organoseg.core import DataError, Image, UsageError


def create_archive(
    sources: Sequence[str | os.PathLike[str]],
    out: Path,
    chunk: int = CHUNK,
    progress: Progress | None = None,
    grammar: str = "auto",
    absent: Absent = "refuse",
) -> Archive:
    """Store every image of ``sources`` in a new archive: files, folders searched through, zarr stores.

    ``grammar``: how file names are understood (`Grammar.of`); planes of one stack become one image. ``chunk``: side
    of a chunk in px; ``progress`` is called with (files done, files). Memory holds one plane at a time. A picture
    met twice is stored once (`Archive.duplicates`); a file that cannot be read is listed (`Archive.errors`) and the
    rest is done. ``absent``: what a chunk means that a zarr source does not have; many writers leave out chunks of
    one grey, and a lost chunk looks the same.

    ``out`` appears only when whole. After a kill or a full disk the same call goes on where it was. Raises UsageError
    when ``out`` exists or another command's build is unfinished, DataError when there are no images or none can be
    read, RunError when the disk does not take it.
    """
    out = _checked(out, chunk)
    words = Grammar.of(grammar)
    given = [os.fspath(source) for source in sources]
    command = {
        "sources": [s if is_remote(s) else str(Path(s).absolute()) for s in given],
        "chunk": chunk,
        "grammar": grammar,
        "absent": absent,
    }
    with open_build(out, command, chunk) as build:
        jobs = find_jobs(given, words)
        total = sum(job.size for job in jobs)
        done = 0
        for job in jobs:
            if job.key not in build.done:
                _do(job, build, absent)
            for _ in range(job.size):
                done += 1
                if progress:
                    progress(done, total)
        build.complete()
    return Archive.open(out)


def create_archive_from_images(
    images: Iterable[Image], out: Path, chunk: int = CHUNK, progress: Progress | None = None
) -> Archive:
    """Store images that are already in memory (or made one by one).

    As `create_archive`, but an interrupted build leaves nothing to go on with.
    """
    out = _checked(out, chunk)
    total = len(images) if isinstance(images, Sequence) else 0
    with open_build(out, None, chunk) as build:
        for number, image in enumerate(images, start=1):
            result = Done(str(number))
            try:
                build.store(picture_of(image), result)
            except DataError as error:
                result.errors.append((image.name, str(error)))
            build.finish(result)
            if progress:
                progress(number, max(total, number))
        build.complete()
    return Archive.open(out)


def _checked(out: Path, chunk: int) -> Path:
    if chunk < 1:
        raise UsageError(f"A chunk of {chunk} pixels", remedy="Give a positive side, such as 512.")
    return Path(out)


def _do(job: Job, build: Build, absent: Absent) -> None:
    done = Done(job.key)
    try:
        if isinstance(job, StoreJob):
            _do_store(job, build, done, absent)
        else:
            _do_stack(job, build, done)
    except BaseException:
        build.abandon(done)
        raise
    build.finish(done)


def _do_store(job: StoreJob, build: Build, done: Done, absent: Absent) -> None:
    try:
        build.store(store_picture(job.image, absent), done)
    except DataError as error:
        array = job.image.array
        done.errors.append((f"{array.url}/{array.path}", str(error)))


def _do_stack(job: StackJob, build: Build, done: Done) -> None:
    """Store a stack; what cannot be read of it is left out, what does not fit becomes an image of its own."""
    waiting = deque(rectangles(job.files))
    while waiting:
        files = waiting.popleft()
        try:
            with contextlib.closing(FileStack(files, job.group, job.fields)) as stack:
                build.store(stack.picture, done)
        except FileFault as fault:
            done.errors.append((str(fault.file.path), str(fault.error)))
            waiting.extendleft(_sorted_out([f for f in files if f != fault.file], done))
        except Misfit:
            parts = _sorted_out(files, done)
            one_form = len(parts) == 1 and len(parts[0]) == len(files)
            waiting.extendleft([[file] for file in reversed(files)] if one_form else parts)
        except DataError as error:
            done.errors.extend((str(file.path), str(error)) for file in files)


def _sorted_out(files: Sequence[SourceFile], done: Done) -> list[list[SourceFile]]:
    """Stacks of files that fit together, last first; those that cannot be read go to the errors."""
    parts, faults = by_form(files)
    done.errors.extend((str(fault.file.path), str(fault.error)) for fault in faults)
    return [stack for part in parts for stack in rectangles(part)][::-1]
