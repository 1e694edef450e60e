"""How a widget tells the user that something went wrong or well."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from organoseg.core import OrganosegError

_LOG = logging.getLogger(__name__)
Slot = TypeVar("Slot", bound=Callable[..., Any])

TORCH_ABSENT = (
    "Segmenting and training need torch, which is not installed in napari's Python. "
    "Install it with: python -m pip install torch, and start napari again. Review works without it."
)
#: Remedies that name what is typed, as what is pressed.
_IN_A_WINDOW = (
    (
        "Add --resume, or give another --out.",
        "Tick “Go on with a run that was stopped”, or name another run folder.",
    ),
    ("Start it without --resume.", "Take away the tick at “Go on with a run that was stopped”."),
)


def in_a_window(text: str, press: str = "Try again") -> str:
    """What the command line says, for somebody who has buttons and no command."""
    for said, here in (("Run the command again", press), *_IN_A_WINDOW):
        text = text.replace(said, here)
    return text


def explain(error: BaseException) -> str:
    """What went wrong, where, and what to do, for a person who does not program."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "torch":
        return TORCH_ABSENT
    if isinstance(error, OrganosegError):
        text = in_a_window(str(error))
        return text[:1].upper() + text[1:]
    if isinstance(error, MemoryError):
        return (
            "The computer has run out of memory. Close other programs, or choose a smaller image."
        )
    _LOG.error("unexpected fault", exc_info=error)  # napari keeps its log: Help > Show logs
    return f"Unexpected fault: {type(error).__name__}: {error}"


def info(text: str) -> None:
    """A note in napari's corner."""
    from napari.utils.notifications import show_info

    show_info(text)


def warn(text: str) -> None:
    """A warning in napari's corner."""
    from napari.utils.notifications import show_warning

    show_warning(text)


def fault(error: BaseException) -> None:
    """An error that the user can mend, without a traceback; others pass on to napari, which keeps theirs."""
    from napari.utils.notifications import show_error

    show_error(explain(error))


def told(slot: Slot) -> Slot:
    """A slot whose foreseen errors are told to the user: in the widget, where they stay (`show_fault`); where it has no
    place for them, in napari's corner."""

    @functools.wraps(slot)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return slot(*args, **kwargs)
        except (OrganosegError, ImportError, MemoryError) as error:
            show = getattr(args[0], "show_fault", None) if args else None
            if show is not None:
                show(explain(error))
            else:
                fault(error)
            return None

    return wrapped  # type: ignore[return-value]
