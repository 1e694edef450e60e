"""Tasks done ahead of their turn, by threads of this process or by processes of their own.

Decoding zstd and copying pixels free the interpreter's lock, so threads are the default and cost nothing to start;
processes are for training loops that keep the interpreter busy themselves. Processes come from a fork server: a fork
would copy locks that zarr's and fsspec's threads hold.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context, parent_process

from organoseg.archive.chunk_reader import ChunkReader
from organoseg.archive.tasks import Reply, Task
from organoseg.core import RunError
from organoseg.core.closing import Closing

_reader: ChunkReader | None = None


def _start(reader: ChunkReader) -> None:
    """In the worker: its own reader, and an end with its parent, however that one dies."""
    global _reader
    _reader = reader
    for name in ("OMP_NUM_THREADS", "BLOSC_NTHREADS"):
        os.environ.setdefault(name, "1")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Task) -> Reply:
    assert _reader is not None  # noqa: S101 (the pool starts every worker)
    return _reader.read(task)


class ReadAhead(Closing):
    """Does tasks in the background.

    ``workers``: processes; 0 for threads of this one, as many as it may use cores. Close it, or use it in ``with``.
    """

    def __init__(self, make_reader: Callable[[], ChunkReader], workers: int = 0) -> None:
        self.workers = workers
        self._pool: Executor
        if workers > 0:
            method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
            self._pool = ProcessPoolExecutor(
                workers, get_context(method), initializer=_start, initargs=(make_reader(),)
            )
            self._read: Callable[[Task], Reply] = _work
        else:
            self._pool = ThreadPoolExecutor(cores(), thread_name_prefix="organoseg-archive")
            self._read = make_reader().read

    def submit(self, task: Task) -> Future[Reply]:
        """Begin a task."""
        return self._pool.submit(self._read, task)

    @staticmethod
    def result(coming: Future[Reply]) -> Reply:
        """Wait for it. An error of the worker arrives as itself; RunError when the worker was killed."""
        try:
            return coming.result()
        except BrokenProcessPool as error:
            raise RunError(
                "A process that reads the archive was killed",
                remedy="It may have run out of memory: give fewer workers, then go on with --resume.",
            ) from error

    def close(self) -> None:
        """Drop what has not begun, and end the workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
