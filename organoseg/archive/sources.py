"""What there is to archive: stacks of files, and images of zarr stores, under the sources that the user named."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from organoseg.archive.byte_store import is_remote, local_path
from organoseg.archive.file_planes import SourceFile
from organoseg.archive.grammar import FileName, Grammar
from organoseg.archive.store_planes import StoreImage, is_store, store_images
from organoseg.core import DataError
from organoseg.io.formats import find_images, suffixes


@dataclass
class StackJob:
    """Files whose names make them one stack, or one file."""

    key: str
    group: str
    fields: dict[str, str | list[str]]
    files: list[SourceFile] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many files it has."""
        return len(self.files)


@dataclass(frozen=True)
class StoreJob:
    """One image of a zarr store."""

    key: str
    image: StoreImage
    size: int = 1


Job = StackJob | StoreJob


def find_jobs(
    sources: Sequence[str],
    grammar: Grammar,
    failed: list[tuple[str, str]],
    leave: Callable[[Path], bool] = lambda folder: False,
) -> list[Job]:
    """Every image under ``sources`` (files, folders searched through, zarr stores), each once, in natural order.

    ``failed`` takes (path, reason) of what lies in a folder and cannot be opened; ``leave``: folders not to look into.
    DataError on a source that is not there, that no reader knows, or when nothing at all is found.
    """
    jobs: dict[str, Job] = {}
    for source in sources:
        if is_remote(source):
            _add_store(source, "", jobs)
            continue
        path = local_path(source)
        if not path.is_dir():
            for file in find_images([path]):
                _add_file(SourceFile(file, file.name), grammar.parse(file.name, file), source, jobs)
            continue
        found = _walk(path, leave)
        for store in sorted(found.stores):
            name = store.relative_to(path).as_posix() if store != path else ""
            try:
                _add_store(str(store), name, jobs)
            except DataError as error:
                if store == path:
                    raise
                failed.append((str(store), str(error)))
        failed += [(str(place), reason) for place, reason in found.odd]
        for file in find_images(found.files) if found.files else ():
            name = file.relative_to(path).as_posix()
            _add_file(SourceFile(file, name), grammar.parse(name, file), source, jobs)
    if not jobs and not failed:
        raise DataError(
            "There are no images here",
            where=", ".join(map(str, sources)),
            remedy="Give a folder that holds some.",
        )
    return list(jobs.values())


@dataclass
class _Found:
    """What lies below a folder: image files, zarr stores, and what only is called like an image, with the reason."""

    files: list[Path] = field(default_factory=list)
    stores: list[Path] = field(default_factory=list)
    odd: list[tuple[Path, str]] = field(default_factory=list)


def _walk(folder: Path, leave: Callable[[Path], bool]) -> _Found:
    """Zarr stores are not looked into, hidden files and folders left out."""
    found = _Found()

    def closed(error: OSError) -> None:
        # Left to itself, os.walk would pass over it without a word.
        found.odd.append((Path(error.filename), f"the folder cannot be read: {error.strerror}"))

    for here, folders, files in os.walk(folder, onerror=closed):
        if is_store(Path(here)):
            found.stores.append(Path(here))
            folders.clear()
            continue
        folders[:] = [n for n in folders if not n.startswith(".") and not leave(Path(here) / n)]
        known = [n for n in files if not n.startswith(".") and Path(n).suffix.lower() in suffixes()]
        for file in (Path(here) / name for name in known):
            if file.exists():
                found.files.append(file)
            else:
                found.odd.append((file, "a link that leads nowhere"))
        if not (known or folders) and Path(here).suffix.lower() in suffixes():
            found.odd.append((Path(here), "a folder with the name of an image"))
    return found


def _add_file(file: SourceFile, said: FileName, source: str, jobs: dict[str, Job]) -> None:
    # Folders of the same name under two sources are two folders.
    key = f"{Path(source).absolute()}|{said.stack}"
    job = jobs.get(key)
    if not isinstance(job, StackJob):
        job = jobs[key] = StackJob(key, said.group, dict(said.fields))
    if all(f.path != file.path for f in job.files):
        job.files.append(SourceFile(file.path, file.name, said.coordinates, said.spans))


def _add_store(url: str, name: str, jobs: dict[str, Job]) -> None:
    for image in store_images(url, name):
        key = f"{url}|{image.array.path}"
        jobs.setdefault(key, StoreJob(key, image))
