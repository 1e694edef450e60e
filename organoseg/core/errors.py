"""The errors of the project: each says what happened, where, and what to do."""

import os
from typing import ClassVar


class OrganosegError(Exception):
    """Base of every error that organoseg raises on purpose.

    what: what went wrong, in one sentence without its full stop.
    where: the file, image or field it concerns.
    remedy: what the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, what: str, *, where: str | os.PathLike[str] | None = None, remedy: str | None = None
    ) -> None:
        # Only `what` goes to args: pickling then restores the other two from __dict__.
        super().__init__(what)
        self.what = what
        self.where = None if where is None else os.fspath(where)
        self.remedy = remedy

    def __str__(self) -> str:
        text = self.what.rstrip(".")
        if self.where is not None:
            text += f" ({self.where})"
        return text if self.remedy is None else f"{text}. {self.remedy}"


class UsageError(OrganosegError):
    """The command, recipe or call asks for something that does not exist or does not fit."""

    exit_code = 2


class MissingPartError(UsageError):
    """An optional package that the request needs is not installed."""


class DataError(OrganosegError):
    """A file or value that came from outside is not what it must be."""

    exit_code = 3


class RunError(OrganosegError):
    """The work itself failed: disk full, no permission, a computation that diverged."""

    exit_code = 1
