"""A line chart as inline SVG: no script, no library."""

from collections.abc import Mapping, Sequence
from html import escape

Curve = Sequence[tuple[int, float]]

_W, _H = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 130, 16, 40
COLOURS = ("#b4532a", "#1f6fb2", "#3d8b40", "#7a4fa3")


def learning_curves(curves: Mapping[str, Curve]) -> str:
    """AP (0 to 1) over training steps, one line a method: an <svg> element.

    curves: (step, AP) points by label, steps rising. "" when no curve has a point.
    """
    drawn = {label: curve for label, curve in curves.items() if curve}
    if not drawn:
        return ""
    last = max(step for curve in drawn.values() for step, _ in curve) or 1
    highest = max(value for curve in drawn.values() for _, value in curve)
    top = min(1.0, (int(highest * 10) + 1) / 10)
    lines = [_axes(last, top)]
    ends = _label_heights([_y(curve[-1][1], top) for curve in drawn.values()])
    for number, ((label, curve), end) in enumerate(zip(drawn.items(), ends, strict=True)):
        lines.append(_line(label, curve, COLOURS[number % len(COLOURS)], last, top, end))
    title = "AP over training steps: " + ", ".join(drawn)
    return (
        f'<svg viewBox="0 0 {_W} {_H}" role="img" aria-label="{escape(title)}">'
        f"{''.join(lines)}</svg>"
    )


def _axes(last: int, top: float) -> str:
    parts = []
    for tick in range(round(top * 10) + 1):
        value = tick / 10
        y = _y(value, top)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>'
        )
    for quarter in range(5):
        step = round(last * quarter / 4)
        x = _x(step, last)
        parts.append(f'<text x="{x:.1f}" y="{_H - 22}" text-anchor="middle">{step}</text>')
    middle = (_LEFT + _W - _RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{_H - 4}" text-anchor="middle">training steps</text>')
    return "".join(parts)


def _line(label: str, curve: Curve, colour: str, last: int, top: float, end: float) -> str:
    points = [(_x(step, last), _y(value, top)) for step, value in curve]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in points
    )
    x = points[-1][0] + 8
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.2"/>{dots}'
        f'<text x="{x:.1f}" y="{end + 4:.1f}" class="name" style="fill:{colour}">{escape(label)}</text>'
    )


def _label_heights(heights: Sequence[float]) -> list[float]:
    """Where to write the labels so that none lies on another."""
    placed = list(heights)
    lowest = float("-inf")
    for index in sorted(range(len(placed)), key=placed.__getitem__):
        lowest = placed[index] = max(placed[index], lowest + 16)
    return placed


def _x(step: float, last: int) -> float:
    return _LEFT + (_W - _LEFT - _RIGHT) * step / last


def _y(value: float, top: float) -> float:
    return _H - _BOTTOM - (_H - _TOP - _BOTTOM) * value / top
