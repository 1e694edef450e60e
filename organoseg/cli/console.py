"""What every verb shares: how it speaks to the terminal, and the options for that."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Mapping
from typing import Any, TextIO

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


def verbosity_options() -> argparse.ArgumentParser:
    """A parent parser with -v and -q. They stand before or after the verb."""
    options = argparse.ArgumentParser(add_help=False)
    group = options.add_argument_group("messages")
    shared: dict[str, Any] = {"action": "count", "default": argparse.SUPPRESS}
    group.add_argument("-v", "--verbose", help="say more (-vv: for developers)", **shared)
    group.add_argument("-q", "--quiet", help="say only what went wrong", **shared)
    return options


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
