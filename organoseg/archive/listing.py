"""Every key of a store with its size and time, listed once: what the walk, the index and the check look at."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from organoseg.archive.byte_store import ByteStore, LocalBytes, RemoteBytes, is_remote, local_path
from organoseg.archive.layout import DUPLICATES, ERRORS, JOURNAL
from organoseg.core import DataError, RunError

#: Seconds until a store that does not answer is given up.
PATIENCE = 30.0
#: Files of ours that say something about the store and are no part of it.
_OURS = {"catalogue.sqlite", "quarantine.csv", ERRORS, DUPLICATES, JOURNAL}
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Listing:
    """``keys``: key to a text that changes when the file does; ``sizes``: bytes; ``closed``: what could not be read."""

    url: str
    store: ByteStore
    keys: dict[str, str]
    sizes: dict[str, int]
    closed: tuple[tuple[str, str], ...] = ()

    def signature(self, keys: Iterable[str]) -> str:
        """A hash of what is known of some keys."""
        digest = hashlib.sha256()
        for key in sorted(keys):
            digest.update(f"{key}={self.keys[key]};".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def list_store(url: str, patience: float = PATIENCE) -> Listing:
    """List a local folder or an fsspec URL.

    DataError when there is no such folder or it may not be read, RunError when a server does not answer in time.
    """
    return _remote(url, patience) if is_remote(url) else _local(url)


def _local(url: str) -> Listing:
    root = local_path(url)
    if not root.is_dir():
        raise DataError(
            "There is no such folder" if not root.exists() else "Not a zarr store: it is a file",
            where=url,
            remedy="Give the folder of a zarr store, or a folder of such",
        )
    try:
        os.scandir(root).close()
    except OSError as error:
        raise DataError(
            f"The store cannot be read: {error.strerror}", where=url, remedy="Check permissions"
        ) from error
    keys: dict[str, str] = {}
    sizes: dict[str, int] = {}
    closed: list[tuple[str, str]] = []
    folders = [("", str(root))]
    while folders:
        prefix, folder = folders.pop()
        try:
            for entry in os.scandir(folder):
                key = prefix + entry.name
                if entry.is_dir(follow_symlinks=True):
                    folders.append((key + "/", entry.path))
                elif key.rpartition("/")[2] not in _OURS and not entry.name.startswith(".tmp-"):
                    found = entry.stat()
                    keys[key] = f"{found.st_size},{found.st_mtime_ns}"
                    sizes[key] = found.st_size
        except OSError as error:
            closed.append((prefix.rstrip("/"), f"cannot be read: {error.strerror}"))
    return Listing(url, LocalBytes(root), keys, sizes, tuple(closed))


def _remote(url: str, patience: float) -> Listing:
    import fsspec  # type: ignore[import-untyped]

    def ask() -> Any:
        system, root = fsspec.core.url_to_fs(url)
        root = str(root).rstrip("/")
        found = system.find(root, detail=True)
        # HTTP calls a server that is down, or that lists nothing, an empty folder.
        return root, found, found or _unlisted(system, root)

    root, found, there = in_time(ask, url, patience)
    if there and not found:
        raise DataError(
            "A zarr store lies here, but its server does not list its files",
            where=url,
            remedy="Reach it by a protocol that lists (s3, ssh, a mounted folder), or copy it",
        )
    keys, sizes = {}, {}
    for path, about in found.items():
        key = str(path).removeprefix(root).lstrip("/")
        tags = (
            about.get(name) for name in ("size", "ETag", "etag", "mtime", "LastModified", "created")
        )
        if key and key.rpartition("/")[2] not in _OURS:
            keys[key] = ",".join(str(tag) for tag in tags)
            sizes[key] = int(about.get("size") or -1)
    if not keys:
        raise DataError("Nothing lies at this URL", where=url, remedy="Check the URL")
    return Listing(url, RemoteBytes(url), keys, sizes)


def _unlisted(system: Any, root: str) -> bool:
    """Whether a store lies where nothing is listed; the server's error when it is down."""
    for name in ("zarr.json", ".zgroup", ".zarray"):
        try:
            system.cat_file(f"{root}/{name}")
        except FileNotFoundError:
            continue
        return True
    return False


def in_time(ask: Callable[[], T], url: str, patience: float) -> T:
    """The answer, or RunError when none comes in ``patience`` seconds, or an error does."""
    answer: list[T] = []
    wrong: list[Exception] = []

    def work() -> None:
        try:
            answer.append(ask())
        # Every file system of fsspec has errors of its own.
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    # A daemon: a server that never answers must not keep the program from ending.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(patience)
    if answer:
        return answer[0]
    reason = f"{type(wrong[0]).__name__}: {wrong[0]}" if wrong else f"silent for {patience:g} s"
    raise RunError(
        f"The store does not answer: {reason}", where=url, remedy="Check the URL and the network"
    )


def is_archive(url: str) -> bool:
    """Whether an archive of ours lies in this local folder; only its root metadata are looked at."""
    import json

    if is_remote(url):
        return False
    try:
        attrs = json.loads((local_path(url) / "zarr.json").read_bytes())["attributes"]["organoseg"]
        return "format" in attrs
    except (OSError, ValueError, KeyError, TypeError):
        return False
