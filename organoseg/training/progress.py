"""What a person, a log and a program see of long work."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Protocol


class Reporter(Protocol):
    """Receives events; raising KeyboardInterrupt from it cancels the work."""

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        """``event``: ``start``, ``step``, ``label``, ``validate``, ``look``, ``note``, ``warning``, ``end``, ``abort``.

        ``step`` has ``phase`` as a person calls it and ``labellings``: how often the archive will still be labelled.
        ``look`` has ``what`` is looked at, with ``done`` of ``images``; the first of a look has ``done`` 0.
        """
        ...


def silent(event: str, facts: Mapping[str, Any]) -> None:
    """For tests and libraries."""


class Lines:
    """Plain lines with the time left, a few a minute: for logs and pipes."""

    def __init__(self, stream: IO[str] | None = None, every: float = 10.0) -> None:
        self._stream, self._every = stream or sys.stderr, every
        self._start = self._last = self._before = time.monotonic()
        self._first = 0
        # Seconds of the labelling under way, and of the last one: the next takes about as long.
        self._labelling, self._labelled = 0.0, 0.0

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if event == "start":
            self._start = self._last = self._before = now
            self._first = int(facts.get("step", 0))
        if event == "label":
            # Steps do not go on meanwhile, so this time says nothing of how long the next ones take.
            self._start += now - self._before
            self._labelling += now - self._before
        elif self._labelling:
            self._labelled, self._labelling = self._labelling, 0.0
        self._before = now
        if event in ("step", "label"):
            done, total = ("step", "steps") if event == "step" else ("done", "images")
            if now - self._last < self._every and facts[done] < facts[total]:
                return
            self._last = now
            self._write(self._step(now, facts) if event == "step" else self._label(facts))
        elif event == "look":
            if facts["done"] and now - self._last < self._every:
                return
            self._last = now
            self._write(f"{facts['what']}: {facts['done']}/{facts['images']}")
        elif event != "end":  # said by who began the work
            self._write(_said(event, facts))

    @staticmethod
    def _label(facts: Mapping[str, Any]) -> str:
        return f"labelling the archive: {facts['done']}/{facts['images']} images"

    def _step(self, now: float, facts: Mapping[str, Any]) -> str:
        done = facts["step"] - self._first
        left = (facts["steps"] - facts["step"]) * (now - self._start) / max(done, 1)
        labellings = facts.get("labellings", 0)
        if self._labelled:
            left, labellings = left + labellings * self._labelled, 0
        return (
            f"{facts['phase']} step {facts['step']}/{facts['steps']}, loss {facts['loss']:.3f}, "
            f"{timedelta(seconds=round(left))} left{_besides(labellings)}"
        )

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def _besides(labellings: int) -> str:
    """What the time left leaves out."""
    if not labellings:
        return ""
    times = {1: "once", 2: "twice"}.get(labellings, f"{labellings} times")
    return f", and the archive is labelled {times}"


def _said(event: str, facts: Mapping[str, Any]) -> str:
    """An event in words: a sentence as it is, figures with their names."""
    if "text" in facts:
        return f"{event}: step {facts['step']}: {facts['text']}"
    return f"{event}: " + ", ".join(f"{k} {_short(v)}" for k, v in facts.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Bar:
    """A rich progress bar: for terminals."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._task: Any = None

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        if event == "start":
            self._bar.start()
            self._task = self._bar.add_task("training", total=facts["steps"], note="")
            self._bar.update(self._task, completed=facts.get("step", 0))
        elif event == "step":
            self._bar.update(
                self._task,
                completed=facts["step"],
                description=facts["phase"],
                note=f"loss {facts['loss']:.3f}{_besides(facts.get('labellings', 0))}",
            )
        elif event == "label":
            note = f"{facts['done']}/{facts['images']} images"
            self._bar.update(self._task, description="labelling the archive", note=note)
        elif event == "look":
            note = f"{facts['done']}/{facts['images']} images"
            self._bar.update(self._task, description=facts["what"], note=note)
        elif event in ("end", "abort"):
            self._bar.stop()
        else:
            # A path or a file's name is no markup.
            self._bar.console.print(_said(event, facts), markup=False)


def automatic() -> Reporter:
    """A bar on a terminal, plain lines elsewhere."""
    return Bar() if sys.stderr.isatty() else Lines()


class Journal:
    """``metrics.jsonl`` and TensorBoard events of a run."""

    def __init__(self, folder: Path, writes: bool = True) -> None:
        self._path, self._writes = folder / "metrics.jsonl", writes
        if writes:  # of several processes one
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    def forget_after(self, step: int) -> None:
        """Drop lines of steps that a resumed run will do again, and a line that was cut by a kill."""
        if not self._writes or not self._path.exists():
            return
        kept = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError):
                continue
        from organoseg.core import write_text

        write_text(self._path, "".join(line + "\n" for line in kept))

    def write(self, step: int, kind: str, facts: Mapping[str, Any]) -> None:
        """One line, and one point a number in TensorBoard."""
        if not self._writes:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "kind": kind, **facts}) + "\n")
        for key, value in facts.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(f"{kind}/{key}", value, step)

    def close(self) -> None:
        """Flush the events."""
        if self._writes:
            self._board.close()
