"""Growth curves and counts over time as inline SVG: no script, no library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from statistics import median

from organoseg.report.overlay import PALETTE

Curve = Sequence[tuple[float, float]]

_W, _H = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 18, 14, 42


def track_colour(number: int) -> str:
    """The colour of a track in curves and pictures."""
    red, green, blue = PALETTE[(number - 1) % len(PALETTE)]
    return f"rgb({red},{green},{blue})"


def growth_curves(curves: Mapping[int, Curve], unit: str) -> str:
    """Area over time, each relative to its curve's first point, on a doubling scale: an <svg> element.

    curves: (time, area) by track, times rising and areas above 0; the bold line is the median of the curves at each
    time that half of them have. "" when no curve has two points.
    """
    drawn = {n: [(t, v / c[0][1]) for t, v in c] for n, c in curves.items() if len(c) > 1}
    if not drawn:
        return ""
    values = [math.log2(v) for curve in drawn.values() for _, v in curve]
    low, high = math.floor(min(values)), max(math.ceil(max(values)), math.floor(min(values)) + 1)
    frame = _Frame(_span(drawn), (low, high))
    ticks = [(float(tick), _times(tick)) for tick in _thinned(low, high)]
    parts = [frame.axes(ticks, f"time ({unit})", "area, times the first")]
    for number, curve in drawn.items():
        points = [(t, math.log2(v)) for t, v in curve]
        parts.append(frame.line(points, track_colour(number), 1.4, f"track {number}", 0.75))
    parts.append(frame.line(_median_curve(drawn), "#1e2228", 3.2, "median"))
    return _svg("Growth of each organoid over time", parts)


def count_curve(counts: Curve, unit: str) -> str:
    """Organoids in each frame over time: an <svg> element; "" with fewer than two frames."""
    if len(counts) < 2:
        return ""
    top = max(1, *(int(value) for _, value in counts))
    step = max(1, 10 ** int(math.log10(top)) // 2)
    high = math.ceil(top / step) * step
    frame = _Frame((counts[0][0], counts[-1][0]), (0, high))
    ticks = [(float(tick), str(tick)) for tick in range(0, high + 1, max(step, high // 6 or 1))]
    parts = [
        frame.axes(ticks, f"time ({unit})", "organoids"),
        frame.line(counts, "#1f6fb2", 2.6, "organoids"),
    ]
    return _svg("Organoids in each frame", parts)


class _Frame:
    """The drawing area and its scales."""

    def __init__(self, across: tuple[float, float], up: tuple[float, float]) -> None:
        self._across, self._up = across, up

    def axes(self, ticks: Sequence[tuple[float, str]], below: str, beside: str) -> str:
        parts = []
        for value, text in ticks:
            y = self._y(value)
            parts.append(
                f'<line x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
                f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
            )
        first, last = self._across
        for quarter in range(5):
            time = first + (last - first) * quarter / 4
            parts.append(
                f'<text x="{self._x(time):.1f}" y="{_H - 24}" text-anchor="middle">{time:.4g}</text>'
            )
        middle = (_LEFT + _W - _RIGHT) / 2
        parts.append(
            f'<text x="{middle:.1f}" y="{_H - 5}" text-anchor="middle">{escape(below)}</text>'
        )
        parts.append(
            f'<text transform="translate(14 {(_TOP + _H - _BOTTOM) / 2:.1f}) rotate(-90)" '
            f'text-anchor="middle">{escape(beside)}</text>'
        )
        return "".join(parts)

    def line(
        self, points: Curve, colour: str, width: float, title: str, opacity: float = 1.0
    ) -> str:
        path = " ".join(f"{self._x(t):.1f},{self._y(v):.1f}" for t, v in points)
        return (
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
            f'stroke-opacity="{opacity}" stroke-linejoin="round"><title>{escape(title)}</title></polyline>'
        )

    def _x(self, time: float) -> float:
        first, last = self._across
        return _LEFT + (_W - _LEFT - _RIGHT) * (time - first) / ((last - first) or 1)

    def _y(self, value: float) -> float:
        low, high = self._up
        return _H - _BOTTOM - (_H - _TOP - _BOTTOM) * (value - low) / ((high - low) or 1)


def _svg(title: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_W} {_H}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _span(curves: Mapping[int, Curve]) -> tuple[float, float]:
    times = [time for curve in curves.values() for time, _ in curve]
    return min(times), max(times)


def _median_curve(curves: Mapping[int, Curve]) -> list[tuple[float, float]]:
    by_time: dict[float, list[float]] = {}
    for curve in curves.values():
        for time, value in curve:
            by_time.setdefault(time, []).append(math.log2(value))
    half = len(curves) / 2
    return [(t, median(values)) for t, values in sorted(by_time.items()) if len(values) >= half]


def _thinned(low: int, high: int) -> range:
    return range(low, high + 1, max(1, -(-(high - low) // 6)))


def _times(power: int) -> str:
    return f"×{2**power}" if power >= 0 else f"×1/{2**-power}"
