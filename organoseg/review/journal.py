"""The journal: one line of JSON an action, only ever appended to.

The first line names the project. Every line ends with the CRC-32 of what stands before it, so that a line that was
altered or half written is known. A line counts when its line feed is on disk; what stands after the last one is the
rest of an action that a crash cut, and is kept aside when the journal is opened for writing.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from organoseg.core import DataError, RunError, write_bytes

FORMAT = "organoseg review journal 1"
_SEAL = b',"crc":"'
_TAIL = len(_SEAL) + 8 + len(b'"}\n')


@dataclass(frozen=True)
class Read:
    """A journal's lines and how many bytes of it they take; ``cut``: bytes of an unfinished last line."""

    lines: list[dict[str, Any]]
    size: int
    cut: bytes = b""


def seal(record: Mapping[str, Any]) -> bytes:
    """A record as one line, with its checksum and line feed."""
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # A file name that is not text comes as lone surrogates, which JSON can only hold escaped.
    body = text.encode("utf-8", errors="backslashreplace")
    return b'%s,"crc":"%08x"}\n' % (body[:-1], zlib.crc32(body[:-1]))


def unseal(line: bytes) -> dict[str, Any] | None:
    """The record of a line with its line feed; None when it is not whole or was altered."""
    if len(line) < _TAIL or not line.endswith(b'"}\n') or line[-_TAIL : -_TAIL + 8] != _SEAL:
        return None
    body = line[:-_TAIL]
    if line[-11:-3] != b"%08x" % zlib.crc32(body):
        return None
    try:
        record = json.loads(body + b"}")
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def read_journal(path: Path, project: str) -> Read:
    """All whole lines after the first.

    Raises DataError when there is no journal, it is another project's, or a line before the last is damaged.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            "The review has no journal, so the decisions made so far are not here",
            where=path,
            remedy="Copy the whole folder of the review, or restore journal.jsonl from a backup.",
        ) from error
    except OSError as error:
        raise DataError(
            f"The journal cannot be read: {error.strerror}",
            where=path,
            remedy="Check permissions, or restore journal.jsonl from a backup.",
        ) from error
    lines: list[dict[str, Any]] = []
    end = 0
    for number, line in enumerate(_split(data), start=1):
        record = unseal(line)
        if record is None:
            if end + len(line) < len(data):
                raise _damaged(path, number)
            break
        lines.append(record)
        end += len(line)
    if not lines:
        raise _damaged(path, 1)
    _check_head(path, lines[0], project)
    return Read(lines[1:], end, data[end:])


def _split(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        stop = data.find(b"\n", start) + 1 or len(data)
        yield data[start:stop]
        start = stop


def _check_head(path: Path, head: Mapping[str, Any], project: str) -> None:
    if head.get("format") != FORMAT:
        raise DataError(
            f"The journal is of a kind that this version does not know: {head.get('format')!r}",
            where=path,
            remedy="Open it with the version of organoseg that wrote it, or a newer one.",
        )
    if head.get("project") != project:
        raise DataError(
            "The journal belongs to another review project",
            where=path,
            remedy="Put back the journal of this project. To join the work of two, use: organoseg review merge",
        )


def _damaged(path: Path, number: int) -> DataError:
    return DataError(
        f"Line {number} of the journal is damaged, and there are lines after it"
        if number > 1
        else "The journal's first line is damaged",
        where=path,
        remedy="Restore journal.jsonl from a backup. Nothing was changed or deleted.",
    )


def create_journal(path: Path, project: str, **facts: Any) -> None:
    """A journal without an action; RunError when it cannot be written."""
    write_bytes(Path(path), seal({"format": FORMAT, "project": project, **facts}))


class Syncer:
    """Forces a file to disk in a thread of its own, as soon as something was written."""

    def __init__(self, descriptor: int) -> None:
        self.error: OSError | None = None
        self._descriptor = descriptor
        self._wake, self._stopped = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="organoseg-journal", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something was written."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait()
            self._wake.clear()
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                self.error = error

    def stop(self) -> None:
        """Wait for the last one."""
        self._stopped = True
        self._wake.set()
        self._thread.join()


class Journal:
    """A journal open for appending. Hold the project's lock while it is open.

    A line is with the system when `append` returns: it survives the end of the program, however sudden. A thread forces
    it to disk right after, so that it survives a power cut some milliseconds later; waiting for that would make every
    brush stroke as slow as the disk is at its worst, and network drives take a tenth of a second.
    """

    def __init__(self, path: Path, project: str) -> None:
        self.path = Path(path)
        found = read_journal(self.path, project)
        self.lines = found.lines
        self.aside: Path | None = self._mend(found) if found.cut else None
        self._handle: BinaryIO = self._open()
        self._syncer = Syncer(self._handle.fileno())

    def _mend(self, found: Read) -> Path:
        """Keep the rest of a cut line aside, then take it off."""
        aside = self.path.with_name(f"{self.path.stem}-cut-at-{found.size}.txt")
        write_bytes(aside, found.cut)
        try:
            with self.path.open("r+b") as handle:
                handle.truncate(found.size)
                os.fsync(handle.fileno())
        except OSError as error:
            raise self._failed(error) from error
        return aside

    def _open(self) -> BinaryIO:
        try:
            # Unbuffered: one write call a line, so that a killed program leaves whole lines.
            return self.path.open("ab", buffering=0)
        except OSError as error:
            raise self._failed(error) from error

    def append(self, record: Mapping[str, Any]) -> int:
        """Write one line and return its length in bytes; RunError when the disk does not take it.

        The journal is then as it was before. An earlier line that could not be forced to disk is told of here, too.
        """
        self._tell()
        line = seal(record)
        before = self._handle.seek(0, os.SEEK_END)
        try:
            written = self._handle.write(line)
            if written != len(line):
                raise OSError(28, "the disk took only a part of the line")
        except OSError as error:
            self._take_back(before)
            raise self._failed(error) from error
        self._syncer.wake()
        return len(line)

    def _tell(self) -> None:
        error, self._syncer.error = self._syncer.error, None
        if error is not None:
            raise self._failed(error) from error

    def _take_back(self, size: int) -> None:
        try:
            self._handle.truncate(size)
        except OSError:  # the next opening finds the cut line
            return

    def _failed(self, error: OSError) -> RunError:
        return RunError(
            f"The action could not be written to the journal: {error.strerror or error}",
            where=self.path,
            remedy="Make room on the disk or check permissions, then do it again.",
        )

    def flush(self) -> None:
        """Force all lines to disk; RunError when that fails."""
        try:
            os.fsync(self._handle.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Force all to disk and close; RunError when the disk did not take all of it. A second call does nothing."""
        if self._handle.closed:
            return
        self._syncer.stop()
        try:
            self._tell()
            self.flush()
        finally:
            self._handle.close()
