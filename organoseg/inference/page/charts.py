"""Charts as inline SVG: no script, no library."""

from __future__ import annotations

import math
from html import escape

import numpy as np
from numpy.typing import NDArray

from organoseg.inference.page.words import figure

_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 1000, 270, 56, 16, 14, 46
_BARS = 45
ACCENT = "#1f6fb2"


def nice_step(span: float, pieces: int) -> float:
    """1, 2 or 5 times a power of ten, so that about ``pieces`` of it make ``span``."""
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / pieces))
    return next((m * power for m in (1, 2, 5) if m * power * pieces >= span), 10 * power)


def upper_end(values: NDArray[np.float32]) -> float:
    """Where an axis ends that shows these values: a few giants do not squeeze the rest."""
    if not values.size:
        return 1.0
    largest, usual = float(values.max()), float(np.percentile(values, 99))
    return largest if largest < 1.6 * usual else 1.25 * usual


def histogram(values: NDArray[np.float32], label: str) -> str:
    """How many organoids have which size: an <svg>; "" without any. ``label`` names the axis and its unit."""
    if not values.size:
        return ""
    end = upper_end(values)
    step = nice_step(end, _BARS)
    edges = np.arange(0, math.ceil(end / step) + 1) * step
    counts = np.histogram(np.minimum(values, edges[-1]), edges)[0]
    beyond = int((values > edges[-1]).sum())
    top = max(1, int(counts.max()))
    wide = (_W - _LEFT - _RIGHT) / len(counts)
    parts = [_levels(top)]
    for number, count in enumerate(counts.tolist()):
        high = (_H - _TOP - _BOTTOM) * count / top
        last = beyond and number == len(counts) - 1
        said = f"{figure(edges[number])} to {figure(edges[number + 1])}{' and more' if last else ''}: {count} organoids"
        parts.append(
            f'<rect x="{_LEFT + number * wide + 0.5:.1f}" y="{_H - _BOTTOM - high:.1f}" '
            f'width="{max(1.0, wide - 1):.1f}" height="{high:.1f}" fill="{ACCENT}"><title>{said}</title></rect>'
        )
    parts.append(
        _feet(float(edges[-1]), f"{label}{' (the last bar: and larger)' if beyond else ''}")
    )
    middle = float(np.median(values))
    x = _LEFT + (_W - _LEFT - _RIGHT) * min(middle / edges[-1], 1)
    parts.append(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_H - _BOTTOM}" class="median"/>'
        f'<text x="{x + 5:.1f}" y="{_TOP + 9}" class="name">median {figure(middle)}</text>'
    )
    return _svg(_W, _H, f"Histogram: {label}", "".join(parts))


def _levels(top: int) -> str:
    step = max(1, round(nice_step(top, 4)))
    parts = []
    for value in range(0, top + 1, step):
        y = _H - _BOTTOM - (_H - _TOP - _BOTTOM) * value / top
        parts.append(
            f'<line x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>'
        )
    parts.append(
        f'<text transform="translate(13 {(_H - _BOTTOM + _TOP) / 2}) rotate(-90)" '
        f'text-anchor="middle">organoids</text>'
    )
    return "".join(parts)


def _feet(end: float, label: str) -> str:
    step = nice_step(end, 8)
    parts = []
    for number in range(int(end / step + 1e-6) + 1):
        x = _LEFT + (_W - _LEFT - _RIGHT) * number * step / end
        parts.append(
            f'<text x="{x:.1f}" y="{_H - _BOTTOM + 17}" text-anchor="middle">{figure(number * step)}</text>'
        )
    middle = (_LEFT + _W - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_H - 6}" text-anchor="middle">{escape(label)}</text>')
    return "".join(parts)


def box(values: NDArray[np.float32], end: float, width: int = 170) -> str:
    """Sizes of a group on a line from 0 to ``end``: the middle half as a box, nine tenths as a line."""
    if not values.size:
        return ""
    low, first, middle, third, high = (
        min(float(v), end) / end * (width - 4) + 2
        for v in np.percentile(values, [5, 25, 50, 75, 95])
    )
    body = (
        f'<line x1="0" x2="{width}" y1="9" y2="9" class="grid"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="9" y2="9" stroke="{ACCENT}"/>'
        f'<rect x="{first:.1f}" y="3" width="{max(1.0, third - first):.1f}" height="12" rx="2" fill="#a9cbe8"/>'
        f'<rect x="{middle - 1:.1f}" y="2" width="2.4" height="14" fill="{ACCENT}"/>'
    )
    return (
        f'<svg class="box" viewBox="0 0 {width} 18" width="{width}" height="18" role="img" '
        f'aria-label="sizes">{body}</svg>'
    )


def _svg(width: int, height: int, title: str, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{body}</svg>'
    )
