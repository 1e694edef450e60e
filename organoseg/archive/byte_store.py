"""Bytes by key out of a store: a folder on this machine, or anything that fsspec reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from organoseg.core import MissingPartError, RunError

#: A server may stumble; after this many pauses (seconds) it is taken to be gone.
PAUSES = (0.2, 1.0, 3.0)
T = TypeVar("T")


class ByteStore(Protocol):
    """What a reader of chunks needs. OSError: this key can not be read; RunError: the store is gone."""

    def get(self, key: str) -> bytes | None:
        """All bytes of a key, or None when there is no such key."""
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes | None:
        """``length`` bytes (fewer where the key ends) from ``start``, counted from the end when negative."""
        ...


def is_remote(url: str) -> bool:
    """Whether fsspec must fetch it. `C:\\data` and `file:///data` are local."""
    scheme = urlsplit(url).scheme
    return len(scheme) > 1 and scheme not in ("file", "local")


def local_path(url: str) -> Path:
    """The folder that a local url or plain path names."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme in ("file", "local") else Path(url)


class LocalBytes:
    """Files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)

    def get(self, key: str) -> bytes | None:
        """See `ByteStore`."""
        try:
            # A path of its own costs pathlib more than the system takes to open it.
            with open(f"{self.root}/{key}", "rb", buffering=0) as handle:  # noqa: PTH123
                return handle.readall()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def get_range(self, key: str, start: int, length: int) -> bytes | None:
        """See `ByteStore`."""
        try:
            with open(f"{self.root}/{key}", "rb", buffering=0) as handle:  # noqa: PTH123
                if start < 0:
                    start = max(handle.seek(0, 2) + start, 0)
                handle.seek(start)
                return handle.read(length)
        except (FileNotFoundError, NotADirectoryError):
            return None


class RemoteBytes:
    """Keys below an fsspec URL. Opened at first use, in the process that uses it."""

    def __init__(self, url: str, pauses: tuple[float, ...] = PAUSES) -> None:
        self.url, self._pauses = url, pauses
        self._opened: tuple[Any, str] | None = None

    def get(self, key: str) -> bytes | None:
        """See `ByteStore`."""
        system, root = self._open()
        found: bytes | None = self._ask(lambda: system.cat_file(f"{root}/{key}"))
        return found

    def get_range(self, key: str, start: int, length: int) -> bytes | None:
        """See `ByteStore`."""
        system, root = self._open()
        path = f"{root}/{key}"

        def fetch() -> bytes:
            first = start if start >= 0 else max(int(system.info(path)["size"]) + start, 0)
            found: bytes = system.cat_file(path, start=first, end=first + length)
            return found

        return self._ask(fetch)

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            import fsspec  # type: ignore[import-untyped]

            try:
                system, root = fsspec.core.url_to_fs(self.url)
            except ImportError as error:
                raise MissingPartError(
                    f"Reading this store needs another package: {error}", where=self.url
                ) from error
            except ValueError as error:
                raise RunError(f"The store cannot be opened: {error}", where=self.url) from error
            self._opened = system, str(root).rstrip("/")
        return self._opened

    def _ask(self, fetch: Callable[[], T]) -> T | None:
        """None for a key that is not there; RunError when the store does not answer, again and again."""
        for pause in (*self._pauses, None):
            try:
                return fetch()
            except (FileNotFoundError, NotADirectoryError):
                return None
            # Every file system of fsspec has errors of its own.
            except Exception as error:
                if pause is None:
                    raise RunError(
                        f"The store does not answer: {type(error).__name__}: {error}",
                        where=self.url,
                        remedy="Check the network and the permissions, then go on with --resume.",
                    ) from error
                time.sleep(pause)
        raise AssertionError("unreachable")
