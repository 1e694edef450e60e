"""Seconds of work an action took."""

from __future__ import annotations

import datetime
from time import monotonic

#: Longer than this nobody looks at one organoid: they were away.
MOST = 120.0


class Stopwatch:
    """Runs from the moment an organoid is shown; counts at most `MOST` seconds, and nothing while paused."""

    def __init__(self) -> None:
        self._since: float | None = monotonic()
        self._kept = 0.0

    def start(self) -> None:
        """Begin anew at 0; a paused watch stays paused."""
        self._kept = 0.0
        if self._since is not None:
            self._since = monotonic()

    def pause(self) -> None:
        """Stand still."""
        self._kept, self._since = self.read(), None

    def resume(self) -> None:
        """Run on."""
        if self._since is None:
            self._since = monotonic()

    def read(self) -> float:
        """Seconds so far."""
        running = 0.0 if self._since is None else monotonic() - self._since
        return min(self._kept + running, MOST)


def timestamp() -> str:
    """Now, UTC, ISO 8601 with milliseconds."""
    now = datetime.datetime.now(datetime.UTC)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
