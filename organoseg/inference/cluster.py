"""The same work by many processes: on this machine (`--jobs`) or on any Dask cluster (`--dask`).

The work is a function of a few items that writes its results itself and does nothing twice. What it returns is small.
So nothing that is written depends on how many workers there are, and a worker that dies costs what it was doing.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from organoseg.core import MissingPartError, RunError, UsageError, write_text
from organoseg.core.files import remove_partial
from organoseg.inference.processes import Processes

Item = TypeVar("Item")
Told = TypeVar("Told")
Work = Callable[[Sequence[Item]], Told]
Say = Callable[[str], None]

#: Seconds within which a scheduler has to answer.
PATIENCE = 120
#: Items of one task: enough that loading a model does not count, few enough that a dead worker loses little.
LARGEST = 32
#: Tasks a worker gets on average: the more, the evener all end together.
TURNS = 8


@dataclass(frozen=True)
class Crew:
    """Who does the work: ``jobs`` processes on this machine, or the Dask cluster whose scheduler is at ``address``.

    UsageError for fewer than one job, or both at once.
    """

    jobs: int = 1
    address: str | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UsageError(f"{self.jobs} processes cannot work", where="--jobs")
        if self.address is not None and self.jobs != 1:
            raise UsageError(
                "--jobs is for this machine and --dask for a cluster, which knows its own workers",
                remedy="Give one of the two.",
            )

    @property
    def alone(self) -> bool:
        """This process does it itself, and Dask is not needed."""
        return self.jobs == 1 and self.address is None


@dataclass(frozen=True)
class Turn(Generic[Item, Told]):
    """Items that were worked on together, and what the work said; ``died`` instead when it took its workers along."""

    items: tuple[Item, ...]
    told: Told | None
    died: str | None = None


def spread(
    work: Work[Item, Told],
    items: Sequence[Item],
    crew: Crew,
    out: Path,
    say: Say | None = None,
) -> Iterator[Turn[Item, Told]]:
    """Do ``work`` on all ``items`` a few at a time, and give each turn as it ends, in any order.

    Parameters
    ----------
    work
        Takes some items; what it returns and the items travel as pickles between processes that trust each other.
        It must write whole files only, and skip what an earlier try has done.
    out
        Folder of results (it exists), which every worker has to see under the same path.
    say
        Told what is waited for, and what went wrong and is tried again.

    Raises
    ------
    MissingPartError
        A cluster is asked for, and Dask is not installed.
    RunError
        The cluster cannot be reached or was lost, or a worker does not see ``out`` or has another organoseg.
        What was done until then is kept.
    OrganosegError
        From the work itself: nothing more is begun.
    """
    if not items:
        return
    if crew.alone:
        for batch in _batches(items, LARGEST):
            yield Turn(batch, work(batch))
        return
    with _hands(crew, work, out, say) as hands:
        yield from _Foreman(hands, say).all(items)
    # Workers that were killed leave what they had not finished writing.
    remove_partial(out)


#: Items in a row, each tried by itself, that have to kill their workers until it is not the items' fault.
TOO_MANY = 3
#: A worker may have several threads, but it has one model, whose network uses all cores that it is given.
_ONE_AT_A_TIME = threading.Lock()
DIED = "the process that worked on it died, and once more when it had nothing else to do; perhaps memory is short"


class _Hands(Protocol):
    """Workers, wherever they are."""

    @property
    def workers(self) -> int:
        """How many there are at the moment."""
        ...

    def round(
        self, batches: Sequence[tuple[Any, ...]], suspects: list[Any]
    ) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """Each batch with what the work returned; items at which workers died go to ``suspects`` instead."""
        ...


@contextlib.contextmanager
def _hands(crew: Crew, work: Work[Any, Any], out: Path, say: Say | None) -> Iterator[_Hands]:
    if crew.address is None:
        with Processes(crew.jobs, partial(_heard, work, Path.cwd())) as processes:
            yield processes
        return
    with _client(crew.address, say) as client, _token(out) as token:
        yield _Dask(client, partial(_checked, work, token, _version(), Path.cwd()))


class _Foreman:
    """Hands out batches, and finds the item that kills its workers.

    A batch is suspect when workers died at it, be it the culprit or its neighbour. So the items of such batches are
    tried again at the end, each with nothing beside it: what kills its worker then is guilty.
    """

    def __init__(self, hands: _Hands, say: Say | None) -> None:
        self._hands, self._say = hands, say

    def all(self, items: Sequence[Any]) -> Iterator[Turn[Any, Any]]:
        size = min(LARGEST, max(1, -(-len(items) // (max(1, self._hands.workers) * TURNS))))
        suspects: list[Any] = []
        yield from self._round(list(_batches(items, size)), suspects)
        if suspects and self._say is not None:
            self._say(f"Workers died over {len(suspects)} items, which are now tried one by one.")
        in_a_row = 0
        for item in suspects:
            guilty: list[Any] = []
            yield from self._round([(item,)], guilty)
            in_a_row = in_a_row + 1 if guilty else 0
            if in_a_row == TOO_MANY:
                raise RunError(
                    f"workers died over {TOO_MANY} items in a row, each tried by itself",
                    remedy="Look at the workers' logs; give them more memory or fewer threads, then run again.",
                )
            if guilty:
                yield Turn((item,), None, DIED)

    def _round(
        self, batches: Sequence[Sequence[Any]], suspects: list[Any]
    ) -> Iterator[Turn[Any, Any]]:
        """Turns of these batches; items of those that killed workers go to ``suspects``."""
        for batch, (told, heard) in self._hands.round([tuple(b) for b in batches], suspects):
            for text in heard:
                warnings.warn(text, stacklevel=5)
            yield Turn(batch, told)


class _Dask:
    """The workers of a Dask cluster."""

    def __init__(self, client: Any, work: Callable[[Sequence[Any]], Any]) -> None:
        self._client, self._work = client, work

    @property
    def workers(self) -> int:
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def round(
        self, batches: Sequence[tuple[Any, ...]], suspects: list[Any]
    ) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """As `_Hands` says; Dask gives a task up when it was on several workers that died."""
        from distributed import KilledWorker, as_completed

        waiting = {self._submit(batch): batch for batch in batches}
        try:
            for future in as_completed(list(waiting)):
                batch = waiting.pop(future)
                try:
                    told = future.result()
                except KilledWorker:
                    suspects += batch
                else:
                    yield batch, told
        except Exception as error:
            raise _in_words(error) from error
        finally:
            # Nobody waits for these any more: the run was stopped, or an error ends it.
            for future in waiting:
                future.cancel()

    def _submit(self, batch: Sequence[Any]) -> Any:
        # Not pure: two batches with equal items are still two.
        return self._client.submit(self._work, batch, pure=False)


def _checked(
    work: Work[Item, Told], token: Path, version: str, home: Path, items: Sequence[Item]
) -> tuple[Told, list[str]]:
    """The work, on a worker that sees the folder of results and runs the same program, and what it warned of."""
    from distributed import get_worker

    if not token.exists():
        raise RunError(
            f"worker {get_worker().address} does not see the folder of results",
            where=token.parent,
            remedy="Workers need the same paths for model, images and results: use a shared file system.",
        )
    if _version() != version:
        raise RunError(
            f"worker {get_worker().address} has organoseg {_version()}, here it is {version}",
            remedy="Install the same version everywhere.",
        )
    return _heard(work, home, items)


def _heard(work: Work[Item, Told], home: Path, items: Sequence[Item]) -> tuple[Told, list[str]]:
    """The work, and what it warned of."""
    # Relative paths are meant from where the command was given; a worker without that folder needs none.
    with (
        _ONE_AT_A_TIME,
        contextlib.chdir(home if home.is_dir() else Path.cwd()),
        # Who gave the command does not see what workers print.
        warnings.catch_warnings(record=True) as heard,
    ):
        warnings.simplefilter("default")
        told = work(items)
        return told, list(dict.fromkeys(str(warning.message) for warning in heard))


def _version() -> str:
    from organoseg import __version__

    return __version__


@contextlib.contextmanager
def _token(out: Path) -> Iterator[Path]:
    """A file in the folder of results for as long as it is worked on: who does not see it looks elsewhere."""
    path = out.resolve() / f".workers-{secrets.token_hex(8)}"
    write_text(path, "Workers of a run that is going on look for this file.\n")
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _client(address: str, say: Say | None) -> Iterator[Any]:
    try:
        import distributed
    except ImportError as error:
        raise MissingPartError(
            "work on a cluster needs Dask", remedy="pip install 'organoseg[cluster]'"
        ) from error
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(distributed.Client(address, timeout=PATIENCE))
            _wait(client, say)
        except (OSError, ValueError, TimeoutError) as error:
            raise RunError(
                f"the Dask cluster cannot be used: {error}",
                where=address,
                remedy="Check that its scheduler runs and that this machine reaches it.",
            ) from error
        yield client


def _wait(client: Any, say: Say | None) -> None:
    """Wait for the first worker for as long as it takes: a queue may let it in tomorrow."""
    if not client.scheduler_info(n_workers=-1)["workers"]:
        if say is not None:
            say("The cluster has no worker yet; waiting for the first.")
        client.wait_for_workers(1)


def _in_words(error: Exception) -> Exception:
    """A lost cluster as an error that says so; everything else as it is."""
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError

    if isinstance(error, FutureCancelledError | CommClosedError):
        return RunError(
            "the Dask cluster was lost",
            remedy="Run the same command again: what is done is kept.",
        )
    return error


def _batches(items: Sequence[Item], size: int) -> Iterator[tuple[Item, ...]]:
    for start in range(0, len(items), size):
        yield tuple(items[start : start + size])
