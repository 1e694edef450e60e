"""A local copy of what was read from far away, of a limited size; what was not asked for the longest goes first.

One SQLite file: it locks between processes, forgets half-written rows when one is killed, and reuses the space of
what it drops, so that the file stays near the limit. Each row has a checksum; one that does not fit is read anew.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from organoseg.archive.byte_store import ByteStore
from organoseg.archive.manifest import ArrayRef
from organoseg.core import RunError, UsageError

_PATIENCE_S = 60.0
_TABLES = """
CREATE TABLE IF NOT EXISTS parts(
    id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL,
    used INTEGER NOT NULL, size INTEGER NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS bytes(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_use ON parts(used);
CREATE TABLE IF NOT EXISTS total(size INTEGER NOT NULL);
INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM total);
"""


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """``folder``: where the cache lives, on a disk of this machine; ``size``: its limit in bytes."""

    folder: Path
    size: int

    def __post_init__(self) -> None:
        if self.size < 1 << 20:
            raise UsageError(
                f"A cache of {self.size} bytes holds nothing", remedy="Give at least 1 MiB."
            )


class RemoteCache:
    """Bytes by name. Open it anew in each process; threads of one process take turns."""

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings
        self.file = settings.folder / "organoseg-cache.sqlite"
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        try:
            self.settings.folder.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(
                self.file, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            # A cache may lose its last seconds in a power cut; it need not wait for the disk.
            self._base.execute("PRAGMA synchronous=OFF")
            with self._base:
                self._base.executescript(_TABLES)
        except (OSError, sqlite3.OperationalError) as error:
            raise self._failed(error) from error
        except sqlite3.DatabaseError:
            # Not a database any more. It held nothing that cannot be fetched again.
            self._base.close()
            self.file.unlink(missing_ok=True)
            self._base = sqlite3.connect(
                self.file, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            self._base.executescript(_TABLES)

    def _failed(self, error: Exception) -> RunError:
        return RunError(
            f"The local cache cannot be used: {error}",
            where=self.file,
            remedy="Check free space and permissions, or give another folder.",
        )

    def get(self, name: str) -> bytes | None:
        """What is kept under a name, or None."""
        with self._lock:
            try:
                row = self._base.execute(
                    "SELECT data, crc, used FROM parts JOIN bytes USING (id) WHERE name = ?",
                    (name,),
                ).fetchone()
                if row is None:
                    return None
                data, crc, used = bytes(row[0]), int(row[1]), int(row[2])
                if zlib.crc32(data) != crc:
                    return None
                now = time.time_ns()
                # Marking each use would make readers wait for each other; a second is near enough.
                if now - used > 1_000_000_000:
                    self._base.execute("UPDATE parts SET used = ? WHERE name = ?", (now, name))
            except sqlite3.Error as error:
                raise self._failed(error) from error
        return data

    def put(self, name: str, data: bytes) -> None:
        """Keep bytes under a name; what is larger than the whole cache is not kept."""
        if len(data) > self.settings.size:
            return
        with self._lock:
            try:
                self._base.execute("BEGIN IMMEDIATE")
                try:
                    self._put(name, data)
                except BaseException:
                    self._base.execute("ROLLBACK")
                    raise
                self._base.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._failed(error) from error

    def _put(self, name: str, data: bytes) -> None:
        run = self._base.execute
        total = int(run("SELECT size FROM total").fetchone()[0])
        oldest = "SELECT id, size FROM parts ORDER BY used LIMIT 1"
        gone = run("SELECT id, size FROM parts WHERE name = ?", (name,)).fetchone()
        if gone is None and total + len(data) > self.settings.size:
            gone = run(oldest).fetchone()
        while gone is not None:
            run("DELETE FROM parts WHERE id = ?", (gone[0],))
            run("DELETE FROM bytes WHERE id = ?", (gone[0],))
            total -= int(gone[1])
            full = total + len(data) > self.settings.size
            gone = run(oldest).fetchone() if full else None
        added = run(
            "INSERT INTO parts(name, used, size, crc) VALUES (?, ?, ?, ?)",
            (name, time.time_ns(), len(data), zlib.crc32(data)),
        )
        run("INSERT INTO bytes VALUES (?, ?)", (added.lastrowid, data))
        run("UPDATE total SET size = ?", (total + len(data),))

    @property
    def size(self) -> int:
        """Bytes kept."""
        return int(self._base.execute("SELECT size FROM total").fetchone()[0])

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()


class CachedBytes:
    """A remote store seen through the cache. Opened at first use, in the process that uses it."""

    def __init__(self, remote: ByteStore, array: ArrayRef, settings: CacheSettings) -> None:
        self._remote, self._settings = remote, settings
        # Another signature means that the store was written since: nothing of before may be taken for it.
        self._prefix = f"{array.url}|{array.signature}"
        self._cache: RemoteCache | None = None
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """See `ByteStore`."""
        name = f"{self._prefix}|{key}"
        data = self._kept.get(name)
        if data is None:
            data = self._remote.get(key)
            if data is not None:
                self._kept.put(name, data)
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes | None:
        """See `ByteStore`."""
        name = f"{self._prefix}|{key}|{start}+{length}"
        data = self._kept.get(name)
        if data is None:
            data = self._remote.get_range(key, start, length)
            if data is not None:
                self._kept.put(name, data)
        return data

    @property
    def _kept(self) -> RemoteCache:
        with self._lock:
            if self._cache is None:
                self._cache = RemoteCache(self._settings)
            return self._cache
