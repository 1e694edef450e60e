"""One viewer writes at a time; a second one learns who is at work."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

from organoseg.core.files import write_text
from organoseg.core.locks import ProcessLock

LOCK, HOLDER = "lock", "lock-holder.txt"


class ProjectLock:
    """The right to write into a project. The system takes it back when its holder ends, however suddenly."""

    def __init__(self, folder: Path) -> None:
        self._lock = ProcessLock(Path(folder) / LOCK)
        self._holder = Path(folder) / HOLDER

    def take(self, reviewer: str) -> bool:
        """Take it, or say that another one has it. OSError when the folder cannot be written to or locked."""
        if not self._lock.take():
            return False
        now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
        write_text(
            self._holder, f"{reviewer} on {platform.node()} (process {os.getpid()}), since {now}\n"
        )
        return True

    def holder(self) -> str:
        """Who has it, as far as is known."""
        try:
            return self._holder.read_text("utf-8").strip() or "somebody"
        except (OSError, UnicodeDecodeError):
            return "somebody"

    def release(self) -> None:
        """Give it back."""
        if self._lock.held:
            self._holder.unlink(missing_ok=True)
            self._lock.release()
