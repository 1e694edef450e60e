"""What a run has to do: files, stacks of files and images of zarr stores, found without reading a pixel."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from organoseg.archive.byte_store import is_remote, local_path
from organoseg.archive.file_planes import SourceFile, rectangles
from organoseg.archive.grammar import Grammar, natural, stack_name
from organoseg.archive.sources import Job, StackJob, find_jobs
from organoseg.archive.store_planes import StoreImage
from organoseg.core import DataError, UsageError
from organoseg.inference.records import PARTS, SETTINGS, safe_key
from organoseg.inference.settings import PredictSettings


@dataclass(frozen=True)
class Failure:
    """A file that gave no result, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Item:
    """What is opened together: a file, the focus planes of one time in files of their own, or an image of a store.

    ``name`` is unique in a run; the keys of its pictures begin with it. ``fields``: plate, well, site, time, channel,
    series, where file names or stores say so.
    """

    name: str
    group: str
    files: tuple[SourceFile, ...] = ()
    image: StoreImage | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The file or store to name when something is wrong with it."""
        if self.image is not None:
            return f"{self.image.array.url}/{self.image.array.path}".rstrip("/")
        return str(self.files[0].path)

    def sources(self) -> list[list[str | int]]:
        """[path, bytes, time in ns] of every file: other values, and the item has changed."""
        if self.image is None:
            return [_facts(file.path) for file in self.files]
        url = self.image.array.url
        if is_remote(url):
            return [[self.where, 0, 0]]
        return [_facts(Path(local_path(url)) / self.image.array.path)]


@dataclass(frozen=True)
class Plan:
    """The items of a run in natural order, and what failed before anything was read."""

    items: tuple[Item, ...]
    failures: tuple[Failure, ...] = ()


def make_plan(
    sources: Sequence[str | os.PathLike[str]], settings: PredictSettings, out: Path
) -> Plan:
    """Everything under ``sources`` (files, folders searched through, zarr stores and plates, URLs) but ``out``.

    A broken file or store within a folder is a failure and costs nothing else.

    Raises
    ------
    DataError
        A source is not there, or there is nothing to segment.
    UsageError
        No file has the channel that is asked for.
    """
    given = [name for source in sources for name in _globbed(os.fspath(source))]
    grammar, failures = Grammar.of(settings.grammar), list[Failure]()
    items: list[Item] = []
    prefixes = _prefixes(given)
    for source, prefix in zip(given, prefixes, strict=True):
        failed: list[tuple[str, str]] = []
        for job in find_jobs([source], grammar, failed, lambda f: f == out or is_results(f)):
            items += _items(job, prefix, settings.channel)
        failures += [Failure(*pair) for pair in failed]
    if not items and not failures:
        wanted = f" of channel {settings.channel}" if settings.channel is not None else ""
        raise UsageError(f"there is no image{wanted} to segment", where=", ".join(given))
    # A file that is named beside its folder is one file.
    items = list({(item.name, item.where): item for item in items}.values())
    items.sort(key=lambda item: natural(item.name))
    return Plan(tuple(_unique(items)), tuple(failures))


def is_results(folder: Path) -> bool:
    """Whether a folder holds the results of a run: its label images are no images to segment."""
    try:
        return (folder / SETTINGS).is_file() and (folder / PARTS).is_dir()
    except OSError:
        return False  # closed to us: the search itself names it


def _globbed(source: str) -> list[str]:
    """What a pattern stands for, where the shell has not said it already."""
    if is_remote(source) or not any(mark in source for mark in "*?[") or Path(source).exists():
        return [source]
    # Path.glob takes no pattern that begins at the root.
    return sorted(glob.glob(source, recursive=True), key=natural) or [source]  # noqa: PTH207


def _prefixes(sources: Sequence[str]) -> list[str]:
    """What goes before the names found under each source, so that the names tell the sources apart."""
    local = [None if is_remote(s) else local_path(s).resolve() for s in sources]
    homes = [p if p is None or p.is_dir() else p.parent for p in local]
    # A store is one thing: its own name belongs to the names of its images.
    homes = [h.parent if h is not None and h.suffix == ".zarr" else h for h in homes]
    known = [str(h) for h in homes if h is not None]
    root = Path(os.path.commonpath(known)) if known else Path()
    return ["" if h is None or h == root else h.relative_to(root).as_posix() + "/" for h in homes]


def _items(job: Job, prefix: str, channel: str | None) -> Iterable[Item]:
    if not isinstance(job, StackJob):
        image = job.image
        fields = {k: str(v) for k, v in image.fields.items() if not isinstance(v, list)}
        # A store may call its images what it likes; no name leads out of the folder of results.
        yield Item(safe_key(prefix + image.name), image.group, image=image, fields=fields)
        return
    said = {k: v for k, v in job.fields.items() if isinstance(v, str)}
    files = [f for f in job.files if channel is None or f.coordinates.get("c", channel) == channel]
    times = {f.coordinates.get("t") for f in files}
    for part in _one_time_each(files):
        place = part[0].coordinates
        fields = dict(said)
        if "c" in place:
            fields["channel"] = place["c"]
        if "t" in place:
            fields["time"] = place["t"]
        if len(times) > 1:
            fields["series"] = prefix + job.key.rpartition("|")[2]
        last = {"z": part[-1].coordinates["z"]} if len(part) > 1 else {}
        name = stack_name(part[0].name, part[0].spans, last)
        yield Item(safe_key(prefix + name), job.group, tuple(part), fields=fields)


def _one_time_each(files: Sequence[SourceFile]) -> Iterable[list[SourceFile]]:
    """Files of one time and channel, in order of z."""
    places: dict[tuple[str, str], list[SourceFile]] = {}
    for file in files:
        at = (file.coordinates.get("t", ""), file.coordinates.get("c", ""))
        places.setdefault(at, []).append(file)
    for at in sorted(places, key=lambda pair: (natural(pair[0]), natural(pair[1]))):
        yield from rectangles(places[at])


def _unique(items: Sequence[Item]) -> Iterable[Item]:
    twice = [name for name, count in Counter(i.name for i in items).items() if count > 1]
    if twice:
        raise DataError(
            f"{len(twice)} names stand for several images, such as {twice[0]}",
            remedy="Give the folder above them, so that their folders tell them apart.",
        )
    return items


def _facts(path: Path) -> list[str | int]:
    try:
        found = path.stat()
    except OSError:
        return [str(path), -1, 0]
    return [str(path), found.st_size if path.is_file() else 0, found.st_mtime_ns]
