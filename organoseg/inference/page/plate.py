"""Plates as heat maps: a square a well."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from organoseg.inference.page.summary import Picture, Summary, natural
from organoseg.inference.page.words import figure, text

#: Rows and columns of the plates that one can buy.
_FORMATS = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))
_WELL = re.compile(r"([A-Za-z]{1,2})[-_ ]?0*(\d{1,2})")
#: From few to many: light to dark, which reads the same without colour.
_SCALE = ((237, 246, 252), (158, 202, 225), (66, 146, 198), (8, 81, 156), (8, 40, 92))
Place = tuple[int, int]
Value = Callable[[Sequence[Picture]], float]


def well_place(name: str) -> Place | None:
    """Row and column from 0 of a well called like B7, b07 or AA12; None for another name."""
    found = _WELL.fullmatch(name.strip())
    if found is None or int(found[2]) == 0:
        return None
    row = 0
    for letter in found[1].upper():
        row = row * 26 + ord(letter) - 64
    return row - 1, int(found[2]) - 1


def plates(summary: Summary) -> str:
    """A <section> with two maps a plate, of counts and of sizes; "" where no well is known."""
    found: dict[str, dict[Place, list[Picture]]] = defaultdict(lambda: defaultdict(list))
    for picture in summary.pictures:
        well = picture.place["well"]
        place = well_place(well) if well else None
        if place is not None:
            found[picture.place["plate"] or "plate"][place].append(picture)
    if not found:
        return ""

    def organoids(pictures: Sequence[Picture]) -> float:
        return sum(picture.count for picture in pictures) / len(pictures)

    def diameter(pictures: Sequence[Picture]) -> float:
        sizes = summary.sizes(pictures)
        return float(np.median(sizes)) if sizes.size else float("nan")

    # One scale for all plates, so that they can be compared.
    counts, sizes = _ends(found.values(), organoids), _ends(found.values(), diameter)
    maps = []
    for plate in sorted(found, key=natural):
        wells = found[plate]
        maps.append(
            f'<h3>{text(plate)}</h3><div class="plates">'
            f"{_map('organoids per picture', wells, organoids, counts)}"
            f"{_map(f'median diameter, {summary.unit}', wells, diameter, sizes)}</div>"
        )
    return (
        "<section><h2>Plates</h2><p>A square is a well; point at it for its figures. Where a well has several "
        "pictures, the count is the mean of them. Dashed wells have no picture. "
        "All plates have the same scale of colours.</p>"
        f"{''.join(maps)}</section>"
    )


def _ends(
    found: Iterable[Mapping[Place, Sequence[Picture]]], value_of: Value
) -> tuple[float, float]:
    """The lowest and highest value of any well."""
    values = [value_of(pictures) for wells in found for pictures in wells.values()]
    finite = [value for value in values if np.isfinite(value)]
    return (min(finite), max(finite)) if finite else (0.0, 1.0)


def _map(
    title: str,
    wells: Mapping[Place, Sequence[Picture]],
    value_of: Value,
    ends: tuple[float, float],
) -> str:
    rows, columns = _format(wells)
    side = 44 if columns <= 12 else 26
    body = [
        f'<text x="{24 + (c + 0.5) * side}" y="13" text-anchor="middle">{c + 1}</text>'
        for c in range(columns)
    ]
    for row in range(rows):
        y = 20 + row * side
        body.append(f'<text x="18" y="{y + side / 2 + 4}" text-anchor="end">{row_name(row)}</text>')
        for column in range(columns):
            x, pictures = 24 + column * side, wells.get((row, column))
            if pictures is None:
                body.append(
                    f'<rect x="{x + 1}" y="{y + 1}" width="{side - 2}" height="{side - 2}" rx="4" class="none"/>'
                )
                continue
            body.append(_well(row, column, x, y, side, value_of(pictures), ends, pictures))
    width, height = 28 + columns * side, 24 + rows * side
    return (
        f"<figure><figcaption>{text(title)} {_key(*ends)}</figcaption>"
        f'<svg class="plate" viewBox="0 0 {width} {height}" role="img" aria-label="{text(title)}">'
        f"{''.join(body)}</svg></figure>"
    )


def _well(
    row: int, column: int, x: float, y: float, side: int, value: float,
    ends: tuple[float, float], pictures: Sequence[Picture],
) -> str:  # fmt: skip
    share = (value - ends[0]) / (ends[1] - ends[0]) if ends[1] > ends[0] else 0.5
    fill, ink = _colour(share) if np.isfinite(value) else ("#fff", "#5c6470")
    count = sum(picture.count for picture in pictures)
    said = f"{row_name(row)}{column + 1}: {figure(value)} ({count} organoids, pictures: {len(pictures)})"
    written = (
        f'<text x="{x + side / 2}" y="{y + side / 2 + 4}" text-anchor="middle" '
        f'style="fill:{ink}">{figure(value)}</text>'
        if side > 30
        else ""
    )
    return (
        f'<g><title>{said}</title><rect x="{x + 1}" y="{y + 1}" width="{side - 2}" height="{side - 2}" rx="4" '
        f'fill="{fill}" stroke="#c9d3dd"/>{written}</g>'
    )


def _key(low: float, high: float) -> str:
    stops = ",".join(_colour(step / 4)[0] for step in range(5))
    return (
        f'<span class="key">{figure(low)}<i style="background:linear-gradient(90deg,{stops})"></i>'
        f"{figure(high)}</span>"
    )


def _colour(share: float) -> tuple[str, str]:
    """Of a well and of the letters on it."""
    place = min(max(share, 0.0), 1.0) * (len(_SCALE) - 1)
    lower = min(int(place), len(_SCALE) - 2)
    mixed = [
        round(a + (b - a) * (place - lower))
        for a, b in zip(_SCALE[lower], _SCALE[lower + 1], strict=True)
    ]
    return f"rgb({mixed[0]},{mixed[1]},{mixed[2]})", "#fff" if share > 0.45 else "#1e2228"


def row_name(row: int) -> str:
    """A to Z, then AA to AF."""
    return chr(65 + row) if row < 26 else chr(64 + row // 26) + chr(65 + row % 26)


def _format(wells: Mapping[Place, object]) -> Place:
    """The smallest plate that has all these wells."""
    rows = max(row for row, _ in wells) + 1
    columns = max(column for _, column in wells) + 1
    fitting = ((r, c) for r, c in _FORMATS if r >= rows and c >= columns)
    return next(fitting, (rows, columns))
