"""One process at a time, told apart by a lock that the system takes back when its holder ends, however suddenly."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_KNOWS_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class ProcessLock:
    """The right to be the only one at something; ``path`` is an empty file that stands for it."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        # Whoever closes a review may be another thread than the one that opened it.
        self._lock = FileLock(self.path, thread_local=False)

    def take(self, needed: bool = True) -> bool:
        """Take it, or say that another one has it.

        needed: False where going on without is better than not at all, on a disk that knows no locks (some network
        disks). Raises OSError when the file cannot be made, or the disk knows no locks and they are needed.
        """
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            if needed or error.errno not in _KNOWS_NO_LOCKS:
                raise
        return True

    @property
    def held(self) -> bool:
        """Whether it was taken, and not given back."""
        return self._lock.is_locked

    def release(self, remove: bool = False) -> None:
        """Give it back, and remove its file where that is asked for. A second call does nothing."""
        if remove and self.held:
            # While it is held: afterwards the file may be another's. Windows removes it by itself.
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._lock.release(force=True)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is in such a block, and be the only one in it; ``path`` stands for it, and stays.

    Raises OSError when the file cannot be made, or the disk knows no locks.
    """
    with FileLock(path):
        yield
