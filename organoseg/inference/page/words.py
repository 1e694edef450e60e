"""Figures and names as people write them."""

from __future__ import annotations

import math
from html import escape


def figure(value: float | None) -> str:
    """Three digits at most, and a dash where there is nothing to say."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 100 or value == round(value):
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """The number with its noun."""
    return f"{figure(number)} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def text(value: object) -> str:
    """Anything as text of a page."""
    return escape(str(value))
