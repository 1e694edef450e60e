"""What there is to archive: stacks of files, and images of zarr stores, under the sources that the user named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
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


def find_jobs(sources: Sequence[str], grammar: Grammar) -> list[Job]:
    """Every image under ``sources`` (files, folders searched through, zarr stores), each once, in natural order.

    DataError on a source that is not there, that no reader knows, or when nothing is found.
    """
    jobs: dict[str, Job] = {}
    for source in sources:
        if is_remote(source):
            _add_store(source, "", jobs)
            continue
        path = local_path(source)
        stores: list[Path] = []
        files = list(_walk(path, stores)) if path.is_dir() else [path]
        for store in sorted(stores):
            _add_store(str(store), store.relative_to(path).as_posix(), jobs)
        if files or not stores:
            for file in find_images(files or [path]):
                name = file.relative_to(path).as_posix() if path.is_dir() else file.name
                _add_file(SourceFile(file, name), grammar.parse(name, file), source, jobs)
    if not jobs:
        raise DataError("There are no images to archive", remedy="Give a folder that holds some.")
    return list(jobs.values())


def _walk(folder: Path, stores: list[Path]) -> Iterator[Path]:
    """Image files below ``folder``; zarr stores are put into ``stores`` and not looked into."""
    for here, folders, files in os.walk(folder):
        if is_store(Path(here)):
            stores.append(Path(here))
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes():
                yield Path(here) / name


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
