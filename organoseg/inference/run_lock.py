"""One run at a time in a folder of results, and nothing left of those that were killed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from organoseg.core import RunError, UsageError
from organoseg.core.files import remove_partial
from organoseg.core.locks import ProcessLock

LOCK = ".lock"


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the folder of results; half-written files of killed runs are swept away first.

    The system lets go of the lock when the process ends, however it ends. Where the disk knows no locks (some network
    disks) nothing is held.

    Raises
    ------
    UsageError
        Another run is at work there.
    RunError
        The folder cannot be made or written.
    """
    lock = ProcessLock(out / LOCK)
    try:
        out.mkdir(parents=True, exist_ok=True)
        alone_there = lock.take(needed=False)
    except OSError as error:
        raise RunError(
            f"the folder of results cannot be made or written: {error.strerror or error}",
            where=out,
            remedy="Check permissions, free space and the path.",
        ) from error
    if not alone_there:
        raise UsageError(
            "another run is at work in this folder",
            where=out,
            remedy="Wait for it, or give another --out.",
        )
    try:
        remove_partial(out)  # what a kill left
        yield
    finally:
        lock.release()
