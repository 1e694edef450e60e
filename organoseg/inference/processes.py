"""Processes of this machine that share its cores, without Dask."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

Batch = tuple[Any, ...]


class Processes:
    """``jobs`` processes that do ``work`` on batches; one that dies is replaced.

    They talk through pipes that nobody else has, and end with this process, however it ends.
    """

    def __init__(self, jobs: int, work: Callable[[Sequence[Any]], Any]) -> None:
        self.workers, self._work = jobs, work
        # Spawned, not forked: threads of torch and of codecs do not survive a fork.
        self._context = multiprocessing.get_context("spawn")
        self._pool: ProcessPoolExecutor | None = None
        self._leash: tuple[Connection, Connection] | None = None

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def round(self, batches: Sequence[Batch], suspects: list[Any]) -> Iterator[tuple[Batch, Any]]:
        """Each batch with what the work returned, as they end; items of those at which a process died: ``suspects``.

        When one process dies, all others are ended with it, and what they were at is suspect as well.
        """
        queue, running = deque(batches), dict[Future[Any], Batch]()
        while queue or running:
            # No more than there are processes: what waits in a queue of the pool would die with it.
            while queue and len(running) < self.workers:
                batch = queue.popleft()
                running[self._submit(batch)] = batch
            died = False
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                batch = running.pop(future)
                try:
                    told = future.result()
                except BrokenProcessPool:
                    died = True
                    suspects += batch
                else:
                    yield batch, told
            if died:
                for future, batch in running.items():
                    try:
                        told = future.result()
                    except BrokenProcessPool:
                        suspects += batch
                    else:
                        yield batch, told
                running = {}
                self._end()

    def _submit(self, batch: Batch) -> Future[Any]:
        try:
            return self._send(batch)
        except BrokenProcessPool:  # one died that had nothing to do
            self._end()
            return self._send(batch)

    def _send(self, batch: Batch) -> Future[Any]:
        threads = str(max(1, cores() // self.workers))
        with _environment(OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads):
            if self._pool is None:
                reader, writer = self._context.Pipe(duplex=False)
                self._leash = reader, writer
                self._pool = ProcessPoolExecutor(
                    self.workers, mp_context=self._context, initializer=_begin, initargs=(reader,)
                )
            return self._pool.submit(self._work, batch)

    def _end(self) -> None:
        """End the processes at once, whatever they are at: their work leaves whole files only."""
        if self._leash is not None:
            for end in self._leash:
                end.close()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = self._leash = None


def _begin(leash: Connection) -> None:
    """In a new process: Ctrl-C is its parent's to hear, and it ends when the parent lets go or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        with contextlib.suppress(OSError, EOFError):
            leash.poll(None)  # nothing is ever sent: what comes is the end
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Variables that processes begun meanwhile see: libraries read them when they are loaded."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
