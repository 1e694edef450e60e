"""Options and argument types that several verbs share."""

from __future__ import annotations

import argparse
from typing import Any


def verbosity_options() -> argparse.ArgumentParser:
    """A parent parser with -v and -q. They stand before or after the verb."""
    options = argparse.ArgumentParser(add_help=False)
    group = options.add_argument_group("messages")
    shared: dict[str, Any] = {"action": "count", "default": argparse.SUPPRESS}
    group.add_argument("-v", "--verbose", help="say more (-vv: for developers)", **shared)
    group.add_argument("-q", "--quiet", help="say only what went wrong", **shared)
    return options


def score(text: str) -> float:
    """Parse a score between 0 and 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def count(text: str) -> int:
    """Parse a whole number that is not negative."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def positive(text: str) -> int:
    """A whole number of 1 or more, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value
