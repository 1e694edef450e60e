"""How every verb speaks to the terminal: messages on stderr, results on stdout."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TextIO

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


def set_up_messages(level: int) -> None:
    """Send log records and warnings to stderr as plain lines; `level` is -1 (quiet) to 2."""
    level = max(-1, min(2, level))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("organoseg: %(message)s"))
    logger = logging.getLogger("organoseg")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(_LEVELS[level])
    if level < 0:
        warnings.simplefilter("ignore")
    else:
        warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A user wants the sentence; which line of the code raised it only developers want."""
    print(f"organoseg: warning: {message}", file=file or sys.stderr)


def print_json(values: Mapping[str, Any]) -> None:
    """Write one JSON document to stdout: what `--json` promises to other programs."""
    print(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))


def counter(what: str) -> Callable[[int, int], None]:
    """A progress function `(done, total)`: one living line on a terminal, ten lines in a log."""
    alive = sys.stderr.isatty()

    def show(done: int, total: int) -> None:
        if alive:
            end = "\n" if done == total else ""
            print(f"\r{done} of {total} {what}", end=end, file=sys.stderr, flush=True)
        elif done * 10 // total > (done - 1) * 10 // total:
            print(f"{done} of {total} {what}", file=sys.stderr, flush=True)

    return show
