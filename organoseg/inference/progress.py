"""How far a run is: a bar on a terminal, plain lines in a log, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import IO, Any

Tell = Callable[[str, Mapping[str, Any]], None]


class Lines:
    """A line every ``every`` seconds, with the time left."""

    def __init__(self, stream: IO[str] | None = None, every: float = 10.0) -> None:
        self._stream, self._every = stream or sys.stderr, every
        self._start = self._last = time.monotonic()

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if event == "start":
            self._start = self._last = now
        elif event == "item":
            done, items = facts["done"], facts["items"]
            if now - self._last < self._every:
                return
            self._last = now
            left = timedelta(seconds=round((items - done) * (now - self._start) / max(done, 1)))
            bad = f", {facts['failed']} failed" if facts.get("failed") else ""
            print(f"{done} of {items} files{bad}, {left} left", file=self._stream, flush=True)
        elif event == "note":
            print(facts["text"], file=self._stream, flush=True)


class Bar:
    """A bar with the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("segmenting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"), console=Console(stderr=True),
        )  # fmt: skip
        self._task: Any = None

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        if event == "start":
            self._bar.start()
            self._task = self._bar.add_task("segmenting", total=facts["items"], note="")
        elif event == "item" and self._task is not None:
            note = f"{facts['failed']} failed" if facts.get("failed") else ""
            self._bar.update(self._task, completed=facts["done"], note=note)
        elif event == "note":
            # Other programs' names and paths are no markup; a terminal breaks lines itself.
            self._bar.console.print(facts["text"], markup=False, highlight=False, soft_wrap=True)
        elif event in ("end", "abort"):
            self._bar.stop()


def json_lines(event: str, facts: Mapping[str, Any]) -> None:
    """One JSON document a line on stderr."""
    sys.stderr.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stderr.flush()


def silent(event: str, facts: Mapping[str, Any]) -> None:
    """For tests and programs."""


def automatic() -> Tell:
    """A bar on a terminal, plain lines elsewhere."""
    return Bar() if sys.stderr.isatty() else Lines()
