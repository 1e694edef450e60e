"""One run at a time in a folder of results, and nothing left of those that were killed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from organoseg.core import RunError, UsageError
from organoseg.core.files import remove_partial

LOCK = ".lock"


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the folder of results; half-written files of killed runs are swept away first.

    The system lets go of the lock when the process ends, however it ends. Where it knows no locks (some network
    disks, Windows) nothing is held.

    Raises
    ------
    UsageError
        Another run is at work there.
    RunError
        The folder cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = (out / LOCK).open("wb")
    except OSError as error:
        raise RunError(
            f"the folder of results cannot be made or written: {error.strerror or error}",
            where=out,
            remedy="Check permissions, free space and the path.",
        ) from error
    with handle:
        _hold(handle, out)
        remove_partial(out)  # what a kill left
        yield


def _hold(handle: IO[bytes], out: Path) -> None:
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            "another run is at work in this folder",
            where=out,
            remedy="Wait for it, or give another --out.",
        ) from error
    except OSError:
        return  # this disk knows no locks
