"""Taking up a project: its lock, its journal and what is told to the person when it can only be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from organoseg.core import DataError
from organoseg.review.history import History, many_objects
from organoseg.review.journal import Journal, read_journal
from organoseg.review.lock import ProjectLock
from organoseg.review.project import Project


@dataclass(frozen=True)
class Opened:
    """What was done in a project so far, and the right to do more.

    journal, lock: None where it is open for looking only; notice: what the person has to know, also why they can only
    look; "" when there is nothing.
    """

    history: History
    journal: Journal | None
    lock: ProjectLock | None
    notice: str

    def close(self) -> None:
        """Force the journal to disk and let others in; RunError when the disk did not take all of it."""
        try:
            if self.journal is not None:
                self.journal.close()
        finally:
            if self.lock is not None:
                self.lock.release()


def take_up(project: Project, reviewer: str, read_only: bool) -> Opened:
    """Open a project for writing by ``reviewer``, or for looking where that is asked for or all that is possible.

    Raises DataError when its journal is missing, damaged or another project's.
    """
    if read_only:
        return _looking(project, "Opened for looking only.")
    lock = ProjectLock(project.folder)
    try:
        taken = lock.take(reviewer)
    except OSError as error:
        reason = error.strerror or str(error)
        return _looking(project, f"This folder cannot be written to ({reason}): looking only.")
    if not taken:
        text = f"This project is open already: {lock.holder()}. Until it is closed there, you can only look."
        return _looking(project, text)
    try:
        return _writing(project, lock)
    except BaseException:
        lock.release()
        raise


def _writing(project: Project, lock: ProjectLock) -> Opened:
    notice = ""
    with many_objects():
        journal = Journal(project.journal_path, project.id)
        try:
            history = _history(project, journal.lines)
        except BaseException:
            journal.close()
            raise
        journal.lines = []
    if journal.aside is not None:
        notice = (
            "The last action was only half written when the program ended and is left out; "
            f"its rest is kept in {journal.aside.name}."
        )
    return Opened(history, journal, lock, notice)


def _looking(project: Project, notice: str) -> Opened:
    with many_objects():
        lines = read_journal(project.journal_path, project.id).lines
        history = _history(project, lines)
    return Opened(history, None, None, notice)


def _history(project: Project, lines: Sequence[Mapping[str, Any]]) -> History:
    """The journal's lines, known to be about this project."""
    try:
        history = History(lines)
    except DataError as error:
        raise senseless(project, error.what) from error
    for key in [key for key in history.images if not project.has(key)]:
        # A bundle takes the whole journal along but only some of the images.
        history.set_aside(key)
    for entry in history.entries:
        for change in entry.changes:
            category = (change.after or {}).get("category")
            if category is not None and category not in project.classes:
                what = f"Line {entry.number} of the journal gives a class {category} that the project does not have"
                raise senseless(project, what)
    return history


def senseless(project: Project, what: str) -> DataError:
    """A journal whose lines are whole but do not fit the project or each other."""
    return DataError(
        what,
        where=project.journal_path,
        remedy="Restore journal.jsonl from a backup. Nothing was changed or deleted.",
    )
