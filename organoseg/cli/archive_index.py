"""`organoseg archive index`, `check` and `info`."""

from __future__ import annotations

from typing import Any


def add_verbs(actions: Any) -> None:
    """Declare the actions beside `create`; each sets its own `run_action`."""
