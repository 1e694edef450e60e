"""Several trainings side by side, each in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.runs import Run

Say = Callable[[str], None]
POLL_SECONDS = 0.5


def run_all(runs: Sequence[Run], done: set[Run], jobs: int, threads: int | None, say: Say) -> int:
    """Do `runs`, at most `jobs` at a time, each after those it needs. Returns how many failed.

    A run that fails costs itself and those that need it. On an interrupt the processes are told to
    stop, which writes a checkpoint each.
    """
    waiting, failed = list(runs), set[Run]()
    active: dict[Run, subprocess.Popen[bytes]] = {}
    try:
        while waiting or active:
            _start_ready(waiting, active, done, failed, jobs, threads, say)
            time.sleep(POLL_SECONDS)
            for run in [r for r, process in active.items() if process.poll() is not None]:
                code = active.pop(run).returncode
                (done if code == 0 else failed).add(run)
                left = len(waiting) + len(active)
                say(f"{_ending(run, code)}; {left} left")
    finally:
        for process in active.values():
            process.terminate()
        for process in active.values():
            process.wait()
    return len(failed)


def _start_ready(
    waiting: list[Run],
    active: dict[Run, subprocess.Popen[bytes]],
    done: set[Run],
    failed: set[Run],
    jobs: int,
    threads: int | None,
    say: Say,
) -> None:
    for run in list(waiting):
        if any(needed in failed for needed in run.needs):
            waiting.remove(run)
            failed.add(run)
            say(f"left out: {run.label} (its teacher failed)")
        elif len(active) < jobs and done.issuperset(run.needs):
            waiting.remove(run)
            active[run] = _start(run, threads)
            say(f"start: {run.label}; log: {run.folder / 'log.txt'}")


def _start(run: Run, threads: int | None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-m", "benchmarks.one_run", str(run.folder / "spec.json")]
    with (run.folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment
        )


def _ending(run: Run, code: int) -> str:
    if code == 0:
        return f"done: {run.label}"
    return f"FAILED ({code}): {run.label}: {_last_line(run.folder / 'log.txt')}"


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else f"see {path}"
