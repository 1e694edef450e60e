"""Training as a process of its own: started, followed, found again after napari was closed, stopped. No Qt."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from organoseg.core import DataError, RunError, UsageError, read_json, write_json

_STEP = re.compile(r"^(\w+) step (\d+)/(\d+), loss (\S+), (.+) left$")
_START = re.compile(r"^start: .*\bsteps (\d+)")
_SAMPLE = re.compile(r"^step-(\d+)\.png$")
_LABEL = re.compile(r"^labelling the archive: (\d+)/(\d+) images$")


@dataclass(frozen=True)
class Job:
    """A training process: its run folder, recipe, process id, and the second it was born (so that another process
    that was given the same id later is not taken for it)."""

    out: Path
    recipe: Path
    pid: int
    born: float

    @property
    def log(self) -> Path:
        """What the process prints."""
        return log_of(self.out)


def log_of(out: Path) -> Path:
    """The log of a run, beside its folder: the folder itself is the run's own."""
    return out.with_name(f"{out.name}.log")


def job_file(out: Path) -> Path:
    """Where a job is written down, beside the run folder."""
    return out.with_name(f"{out.name}.job.json")


def start(recipe: Path, out: Path, overrides: Sequence[str] = (), resume: bool = False) -> Job:
    """Start ``organoseg train``; it lives on when napari is closed.

    Raises UsageError where the run is under way already, RunError where the process cannot be started.
    """
    known = attach(out) if job_file(out).exists() else None
    if known is not None and alive(known):
        raise UsageError("This run is under way already", where=out, remedy="Watch it, or stop it")
    command = [sys.executable, "-m", "organoseg.cli.main", "train", str(recipe), "--out", str(out)]
    command += [part for text in overrides for part in ("--set", text)]
    command += ["--resume"] if resume else []
    options: dict[str, Any] = {"start_new_session": True}
    if os.name == "nt":
        options = {"creationflags": 0x00000200 | 0x00000008}  # a group of its own, no console
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with log_of(out).open("ab" if resume else "wb") as log:
            process = subprocess.Popen(  # noqa: S603 (our own program, no shell)
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
            )
    except OSError as error:
        raise RunError(
            f"Training cannot be started: {error.strerror or error}",
            where=out,
            remedy="Check the folder's permissions",
        ) from error
    _CHILDREN[process.pid] = process
    job = Job(out.resolve(), recipe.resolve(), process.pid, _born(process.pid) or 0.0)
    fields = {**asdict(job), "out": str(job.out), "recipe": str(job.recipe)}
    write_json(job_file(out), fields)
    return job


#: Processes that this viewer started: they must be asked for their end, or they stay as zombies.
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


def attach(out: Path) -> Job:
    """The job of a run folder, running or over.

    Raises DataError when none was started there from napari.
    """
    fields = read_json(job_file(out))
    try:
        return Job(
            Path(fields["out"]), Path(fields["recipe"]), int(fields["pid"]), float(fields["born"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("The note of this training cannot be read", where=job_file(out)) from error


def _born(pid: int) -> float | None:
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def alive(job: Job) -> bool:
    """Whether the process is at work."""
    import psutil

    child = _CHILDREN.get(job.pid)
    if child is not None and child.poll() is not None:
        return False
    try:
        process = psutil.Process(job.pid)
        same = abs(process.create_time() - job.born) < 2
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def stop(job: Job) -> None:
    """Ask it to stop: it writes a checkpoint after the step under way, and can go on later."""
    if not alive(job):
        return
    if os.name == "nt":
        os.kill(job.pid, signal.CTRL_BREAK_EVENT)  # type: ignore[attr-defined,unused-ignore]
    else:
        os.kill(job.pid, signal.SIGTERM)


@dataclass
class Progress:
    """What is known of a run so far."""

    state: str = "starting"
    phase: str = ""
    step: int = 0
    steps: int = 0
    left: str = ""
    losses: list[tuple[int, float]] = field(default_factory=list)
    precisions: list[tuple[int, float]] = field(default_factory=list)
    #: (step, low, high): the 95 % interval of the AP, where the run gives one.
    intervals: list[tuple[int, float, float]] = field(default_factory=list)
    #: The newest picture of what the model finds, with its step.
    sample: tuple[int, Path] | None = None
    words: str = ""


class Watch:
    """Follows a job; each `look` reads only what is new."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.progress = Progress()
        self._metrics = Tail(job.out / "metrics.jsonl")
        self._log = Tail(job.log)
        self._last_lines: list[str] = []

    def look(self) -> Progress:
        """The state now: starting, running, finished, stopped or failed."""
        # Asked first: what the process wrote before its end is then read before its end is told.
        working = alive(self.job)
        now = self.progress
        if self._metrics.shrunk():
            now.losses.clear()
            now.precisions.clear()
            now.intervals.clear()
        for line in self._metrics.lines():
            self._metric(line)
        for line in self._log.lines():
            self._said(line)
        now.sample = _newest_sample(self.job.out / "samples", now.step)
        finished = (self.job.out / "result.json").exists()
        if working:
            now.state = "running" if now.step or now.steps else "starting"
        else:
            stopped = any("told to stop" in line for line in self._last_lines)
            now.state = "finished" if finished else "stopped" if stopped else "failed"
            now.words = "" if finished or stopped else "\n".join(self._last_lines[-4:])
        return now

    def _metric(self, line: str) -> None:
        try:
            fact = json.loads(line)
            step, kind = int(fact["step"]), fact["kind"]
            if kind == "train":
                self.progress.losses.append((step, float(fact["loss"])))
            elif kind == "validation":
                self.progress.precisions.append((step, float(fact["AP"])))
                if "AP_low" in fact:
                    between = float(fact["AP_low"]), float(fact["AP_high"])
                    self.progress.intervals.append((step, *between))
        except (ValueError, KeyError, TypeError):
            return  # a line of a later version: the chart lacks a point, nothing else
        self.progress.step = max(self.progress.step, step)

    def _said(self, line: str) -> None:
        self._last_lines = [*self._last_lines[-7:], line]
        if match := _STEP.match(line):
            phase, step, steps, _, left = match.groups()
            self.progress.phase, self.progress.left = phase, left
            self.progress.step, self.progress.steps = int(step), int(steps)
        elif match := _START.match(line):
            self.progress.steps = int(match.group(1))
        elif match := _LABEL.match(line):
            self.progress.phase = f"labelling the archive, {match.group(1)} of {match.group(2)}"


def _newest_sample(folder: Path, step: int) -> tuple[int, Path] | None:
    """The picture of the latest step; those of later steps are left from before the run was begun again."""
    try:
        named = [(_SAMPLE.match(path.name), path) for path in folder.iterdir()]
    except OSError:
        return None
    found = [(int(match[1]), path) for match, path in named if match is not None]
    return max((pair for pair in found if pair[0] <= step), default=None)


class Tail:
    """Whole lines of a growing file, each once; a file that became shorter is read anew."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0

    def shrunk(self) -> bool:
        """Whether it was written anew since the last reading."""
        try:
            return self._path.stat().st_size < self._at
        except OSError:
            return False

    def lines(self) -> list[str]:
        """What is new; a line without its end waits for the next call."""
        if self.shrunk():
            self._at = 0
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except OSError:
            return []
        end = data.rfind(b"\n") + 1
        self._at += end
        return data[:end].decode("utf-8", errors="replace").splitlines()
