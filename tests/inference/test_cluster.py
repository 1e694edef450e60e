"""The same work by many processes: the same files, and nothing lost when a worker dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from organoseg.core import DataError, MissingPartError, RunError, UsageError, write_bytes
from organoseg.inference.cluster import DIED, Crew, spread

distributed = pytest.importorskip(
    "distributed", reason="needs Dask: pip install 'organoseg[cluster]'"
)

ITEMS = list(range(40))
QUIET = {
    "threads_per_worker": 1,
    "memory_limit": 0,
    "dashboard_address": "127.0.0.1:0",
    "scheduler_kwargs": {"dashboard": False},
    "silence_logs": 50,
}


def square(out: Path, items: Sequence[int]) -> list[int]:
    """Work that skips what is done, as `predict` does, and notes each time it does something."""
    done = []
    for item in items:
        path = out / f"{item}.txt"
        if not path.exists():
            write_bytes(path, str(item * item).encode())
            done.append(item)
    return done


def dies_once(out: Path, items: Sequence[int]) -> list[int]:
    """Work whose process is killed in the middle of a batch, the first time it comes to item 13."""
    mark = out.parent / "killed"
    if 13 in items and not mark.exists():
        half = [item for item in items if item < 13]
        square(out, half)
        (out / ".tmp-0123456789abcdef").write_bytes(b"half a fi")
        (out / ".tmp-fedcba9876543210").mkdir()
        (out / ".tmp-fedcba9876543210" / "zarr.json").write_bytes(b"half a folder")
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(out, items)


def dies_at_13(out: Path, items: Sequence[int]) -> list[int]:
    """Work that one item kills, always."""
    if 13 in items:
        os.kill(os.getpid(), signal.SIGKILL)
    return square(out, items)


def dies_always(out: Path, items: Sequence[int]) -> list[int]:
    """Work on workers that have too little of something."""
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def refuses_13(out: Path, items: Sequence[int]) -> list[int]:
    """Work that stops the run with an error of ours."""
    if 13 in items:
        raise DataError("13 is not to be", where="13", remedy="Leave it out.")
    return square(out, items)


def notes_company(out: Path, items: Sequence[int]) -> int:
    """Work that tells whether another thread of its process is at work."""
    mark = out / f"busy-{os.getpid()}"
    mark.touch(exist_ok=False)
    sum(range(300_000))
    mark.unlink()
    return os.getpid()


def warns(out: Path, items: Sequence[int]) -> None:
    """Work that has something to say."""
    warnings.warn(f"{items[0]} is odd", stacklevel=1)


def threads_of(items: Sequence[int]) -> str:
    """Work that tells how many threads its process was given."""
    return os.environ["OMP_NUM_THREADS"]


def hangs_after_the_first(out: Path, items: Sequence[int]) -> None:
    """Work that takes for ever, but for the first item."""
    import time

    (out / f"pid-{os.getpid()}").touch()
    if 0 not in items:
        time.sleep(600)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two workers that somebody else has set up."""
    with distributed.LocalCluster(n_workers=2, **QUIET) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, bytes]:
    """What one process writes."""
    folder = tmp_path / "alone"
    folder.mkdir()
    turns = list(spread(partial(square, folder), ITEMS, Crew(), folder))
    assert [item for turn in turns for item in turn.items] == ITEMS
    return contents(folder)


def test_two_workers_of_a_cluster_write_the_same_as_one_process(
    address: str, out: Path, alone: dict[str, bytes]
) -> None:
    turns = list(spread(partial(square, out), ITEMS, Crew(address=address), out))
    assert contents(out) == alone
    assert sorted(item for turn in turns for item in turn.items) == ITEMS
    assert sorted(item for turn in turns for item in turn.told or ()) == ITEMS
    assert len(turns) > 2


def test_a_worker_killed_in_the_middle_loses_nothing(
    address: str, out: Path, alone: dict[str, bytes]
) -> None:
    turns = list(spread(partial(dies_once, out), ITEMS, Crew(address=address), out))
    assert (out.parent / "killed").exists()
    assert contents(out) == alone
    assert not any(turn.died for turn in turns)
    assert sorted(item for turn in turns for item in turn.items) == ITEMS


def test_own_processes_and_an_item_that_kills_each_of_them_costs_itself(
    out: Path, alone: dict[str, bytes]
) -> None:
    said: list[str] = []
    turns = list(spread(partial(dies_at_13, out), ITEMS, Crew(jobs=2), out, said.append))
    assert ["one by one" in line for line in said] == [True]
    assert [(turn.items, turn.died) for turn in turns if turn.died] == [((13,), DIED)]
    assert contents(out) == {name: data for name, data in alone.items() if name != "13.txt"}


def test_workers_that_die_over_everything_stop_the_run(out: Path) -> None:
    with pytest.raises(RunError, match="in a row"):
        list(spread(partial(dies_always, out), ITEMS[:6], Crew(jobs=2), out))


def test_relative_paths_are_meant_from_where_the_command_is_given(
    address: str, out: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out.parent)
    list(spread(partial(square, Path("out")), ITEMS, Crew(address=address), Path("out")))
    assert contents(out) == alone


def test_a_worker_with_several_threads_does_one_thing_at_a_time(out: Path) -> None:
    many = {**QUIET, "threads_per_worker": 4}
    with distributed.LocalCluster(n_workers=1, **many) as cluster:
        crew = Crew(address=cluster.scheduler_address)
        turns = list(spread(partial(notes_company, out), ITEMS, crew, out))
    assert len(turns) > 4
    assert len({turn.told for turn in turns}) == 1


def test_what_workers_warn_of_is_heard_where_the_command_was_given(address: str, out: Path) -> None:
    with pytest.warns(UserWarning, match="7 is odd"):
        list(spread(partial(warns, out), [7], Crew(address=address), out))


def test_an_error_of_the_work_stops_the_run_and_says_itself(address: str, out: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(spread(partial(refuses_13, out), ITEMS, Crew(address=address), out))
    assert (caught.value.where, caught.value.remedy) == ("13", "Leave it out.")
    # A write that was cut off may leave a partial file, which the next run sweeps; the sign for workers is gone.
    assert not [name for name in contents(out) if name.startswith(".workers")]


def test_a_worker_that_sees_other_folders_is_told_apart(
    address: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The token lies where this process puts it; a worker without the file system does not find it.
    @contextlib.contextmanager
    def unseen(folder: Path) -> Iterator[Path]:
        yield folder / ".workers-unseen"

    monkeypatch.setattr("organoseg.inference.cluster._token", unseen)
    with pytest.raises(RunError, match="does not see the folder of results") as caught:
        list(spread(partial(square, out), ITEMS, Crew(address=address), out))
    assert "shared file system" in str(caught.value.remedy)
    assert contents(out) == {}


def test_no_cluster_at_the_address(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("organoseg.inference.cluster.PATIENCE", 1)
    with pytest.raises(RunError, match="cannot be used"):
        list(spread(partial(square, out), ITEMS, Crew(address="tcp://127.0.0.1:9"), out))
    with pytest.raises(RunError, match="cannot be used"):
        list(spread(partial(square, out), ITEMS, Crew(address="not an address"), out))


def test_a_cluster_lost_in_the_middle_is_said_and_the_next_run_does_the_rest(
    out: Path, alone: dict[str, bytes]
) -> None:
    cluster = distributed.LocalCluster(n_workers=1, **QUIET)
    work = spread(partial(square, out), ITEMS, Crew(address=cluster.scheduler_address), out)
    next(work)
    cluster.close()
    with pytest.raises(RunError, match="lost"):
        list(work)
    list(spread(partial(square, out), ITEMS, Crew(), out))
    assert contents(out) == alone


def test_without_dask_one_process_works_and_more_say_what_is_missing(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert len(list(spread(partial(square, out), ITEMS, Crew(), out))) == 2
    with pytest.raises(MissingPartError, match="Dask"):
        list(spread(partial(square, out), ITEMS, Crew(address="tcp://127.0.0.1:9"), out))


def test_own_processes_need_no_dask(
    out: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    turns = list(spread(partial(square, out), ITEMS, Crew(jobs=2), out))
    assert contents(out) == alone
    assert sorted(item for turn in turns for item in turn.told or ()) == ITEMS
    assert len(turns) > 2


def test_an_own_process_killed_in_the_middle_loses_nothing(
    out: Path, alone: dict[str, bytes]
) -> None:
    turns = list(spread(partial(dies_once, out), ITEMS, Crew(jobs=2), out))
    assert (out.parent / "killed").exists()
    assert contents(out) == alone
    assert not any(turn.died for turn in turns)
    assert sorted(item for turn in turns for item in turn.items) == ITEMS


def test_an_error_in_an_own_process_says_itself_and_what_it_warned_of_is_heard(out: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(spread(partial(refuses_13, out), ITEMS, Crew(jobs=2), out))
    assert (caught.value.where, caught.value.remedy) == ("13", "Leave it out.")
    with pytest.warns(UserWarning, match="7 is odd"):
        list(spread(partial(warns, out), [7], Crew(jobs=2), out))


def test_own_processes_share_the_cores_and_leave_this_one_as_it_was(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("organoseg.inference.processes.cores", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    turns = list(spread(threads_of, ITEMS[:4], Crew(jobs=2), out))
    assert {turn.told for turn in turns} == {"3"}
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_processes_end_at_once_when_nobody_waits_any_more(out: Path) -> None:
    work = spread(partial(hangs_after_the_first, out), ITEMS, Crew(jobs=2), out)
    next(work)
    work.close()  # as Ctrl-C does
    pids = [int(path.name[4:]) for path in out.glob("pid-*")]
    assert pids
    assert not [pid for pid in pids if _lives(pid)]


def test_a_crew_is_here_or_there() -> None:
    with pytest.raises(UsageError, match="--jobs is for this machine"):
        Crew(jobs=2, address="tcp://somewhere:1")
    with pytest.raises(UsageError, match="cannot work"):
        Crew(jobs=0)


def test_workers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys, time
        from functools import partial
        from pathlib import Path
        from organoseg.inference.cluster import Crew, spread

        def hang(out, items):
            import os, time
            (Path(out) / f"pid-{os.getpid()}").touch()
            time.sleep(600)

        if __name__ == "__main__":
            list(spread(partial(hang, sys.argv[1]), [1, 2], Crew(jobs=2), Path(sys.argv[1])))
    """)
    script = tmp_path / "hang.py"
    script.write_text(program)
    out = tmp_path / "out"
    out.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(out)])
    try:
        pids = _until(
            lambda: [int(p.name[4:]) for p in out.glob("pid-*")], lambda found: len(found) == 2
        )
    finally:
        parent.kill()
        parent.wait()
    _until(lambda: [pid for pid in pids if _lives(pid)], lambda left: not left)


def _until(look: Any, enough: Any) -> Any:
    """Look until it is enough; the test's own time limit ends what never is."""
    import time

    while not enough(seen := look()):
        time.sleep(0.05)
    return seen


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
