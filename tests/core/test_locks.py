"""One holder at a time, and none that is dead."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest

from organoseg.core.locks import ProcessLock

_HOLD = """
import sys
from pathlib import Path
from organoseg.core.locks import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.read()
"""


def test_a_lock_has_one_holder_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    words = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"True"
        ours = ProcessLock(path)
        assert not ours.take()
        assert not ours.held
        holder.kill()
        holder.wait()
    assert ours.take()
    assert not ProcessLock(path).take()


def test_another_thread_can_give_it_back(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "lock")
    assert lock.take()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert ProcessLock(tmp_path / "lock").take()


def test_the_file_goes_where_that_is_asked_for_but_never_anothers(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    ours, other = ProcessLock(path), ProcessLock(path)
    assert ours.take()
    other.release(remove=True)
    assert path.exists()
    ours.release(remove=True)
    assert not path.exists()
    ours.release(remove=True)
    assert other.take()


def test_a_disk_without_locks_is_told_where_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", none)
    lock = ProcessLock(tmp_path / "lock")
    assert lock.take(needed=False)
    with pytest.raises(OSError, match="No locks"):
        lock.take()


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):  # noqa: PT011 - which one, the system decides
        ProcessLock(tmp_path / "file" / "lock").take(needed=False)
