"""Batches made ahead of the network, by threads or by processes, and handed out in the order of the steps."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from time import perf_counter
from typing import Any, Generic, TypeVar

from organoseg.core import RunError

T = TypeVar("T")
#: Batches that each worker has made or is making.
DEPTH = 2
#: More processes than this wait for the network, not the network for them.
MOST_WORKERS = 12


@dataclass(frozen=True)
class Workers:
    """Who makes batches.

    Parameters
    ----------
    processes
        Processes a feed; 0: one thread, which suffices where the network runs on a processor.
    pin
        Batches are put where a GPU copies them from without being waited for.
    """

    processes: int = 0
    pin: bool = False


def workers_of(wanted: str | int, on_gpu: bool, processes: int = 1) -> Workers:
    """The recipe's ``training.workers`` on this machine, where ``processes`` of a run share it.

    ``auto``: none on a processor, whose cores the network needs; beside a GPU the cores that are left, in two halves,
    since labelled and unlabelled batches are made apart.
    """
    if wanted != "auto":
        return Workers(int(wanted), on_gpu)
    if not on_gpu:
        return Workers()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    free = ((cores or 1) // max(processes, 1) - 1) // 2
    return Workers(min(free, MOST_WORKERS), on_gpu)


class Prefetch(Generic[T]):
    """Makes the next batches while the network works, and measures how long it had to be waited for.

    A batch depends on its step alone, so it does not matter who makes it.

    Parameters
    ----------
    make
        Gives the batch of a step. For processes it must survive pickling; it is sent once to each of them.
    workers
        One thread, or so many processes. What has to go in the order of the steps (``make.in_order``) and what cannot
        be sent to processes is made by one thread.
    stopping
        Whether the run was told to stop.
    """

    def __init__(
        self,
        make: Callable[[int], T],
        workers: Workers | None = None,
        last: int | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        chosen = workers or Workers()
        self._make, self._pin, self._last, self._stopping = make, chosen.pin, last, stopping
        packed = None if getattr(make, "in_order", False) else _packed(make, chosen.processes)
        self._apart = packed is not None
        self._pool: Executor = (
            ThreadPoolExecutor(1, thread_name_prefix="organoseg-feed")
            if packed is None
            else ProcessPoolExecutor(
                chosen.processes, _context(), initializer=_set_up, initargs=(packed,)
            )
        )
        self._depth = DEPTH * (chosen.processes if self._apart else 1)
        self._coming: dict[int, Future[T]] = {}
        self.waited = 0.0

    def __call__(self, step: int) -> T:
        """The batch of a step.

        Raises
        ------
        RunError
            A process that makes batches has ended by itself.
        """
        start = perf_counter()
        for old in [k for k in self._coming if k < step]:
            self._coming.pop(old).cancel()
        future = self._coming.pop(step, None) or self._begin(step)
        end = step + 1 + self._depth
        for ahead in range(step + 1, end if self._last is None else min(end, self._last)):
            if ahead not in self._coming:
                self._coming[ahead] = self._begin(ahead)
        try:
            result = future.result()
        except BrokenProcessPool as error:
            if self._stopping():
                # The signal that stops the run ended its helpers too; the step under way is finished without them.
                return self._make(step)
            raise RunError(
                "a process that makes batches has ended by itself",
                remedy="It may have run out of memory: lower training.workers, then go on with --resume.",
            ) from error
        self.waited += perf_counter() - start
        return result

    def _begin(self, step: int) -> Future[T]:
        try:
            made: Future[Any] = (
                self._pool.submit(_batch, step)
                if self._apart
                else self._pool.submit(self._make, step)
            )
        except BrokenProcessPool as error:
            made = Future()
            made.set_exception(error)
        if not self._apart and not self._pin:
            return made
        finished: Future[T] = Future()
        made.add_done_callback(lambda done: self._finish(done, finished))
        return finished

    def _finish(self, made: Future[Any], finished: Future[T]) -> None:
        """Runs in a thread of the pool: unpacks what a process sent, and pins it."""
        if made.cancelled() or not finished.set_running_or_notify_cancel():
            finished.cancel()
            return
        try:
            batch = made.result()
            batch = batch.tensors() if self._apart else batch
            finished.set_result(batch.pinned() if self._pin else batch)
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to who asked for the batch
            finished.set_exception(error)

    def close(self) -> None:
        """Drop what was made ahead, and wait for what is being made: its source may be closed next."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()


def _packed(make: Callable[[int], Any], processes: int) -> bytes | None:
    if not processes:
        return None
    try:
        return pickle.dumps(make, protocol=5)
    except (pickle.PicklingError, TypeError, AttributeError):
        return None


def _context() -> Any:
    """Never fork: the network's threads and the GPU's state do not survive it."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


# -- in a process that makes batches ---------------------------------------------------------

_FEED: list[Callable[[int], Any]] = []


def _set_up(packed: bytes) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the run's matter
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()
    torch.set_num_threads(1)
    _FEED[:] = [pickle.loads(packed)]  # noqa: S301 - what this run itself has packed


def _leave_with(parent: Any) -> None:
    """A run that was killed leaves nobody behind."""
    connection.wait([parent])
    os._exit(1)


def _batch(step: int) -> Any:
    # Arrays go through a pipe. Tensors would go through /dev/shm, which is small in many containers.
    return _FEED[0](step).arrays()
