"""Tables of the page: a row a group, a row a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from organoseg.inference.page.charts import box, upper_end
from organoseg.inference.page.gallery import overlay_link
from organoseg.inference.page.summary import Group, Picture, Summary
from organoseg.inference.page.words import counted, figure, text

_TITLES = {"well": "Wells", "plate": "Plates", "folder": "Folders"}


def by_group(summary: Summary) -> str:
    """A <section> that compares wells, plates or folders; "" where there is only one."""
    groups = summary.groups()
    if len(groups) < 2:
        return ""
    kind = summary.grouping()
    end = upper_end(summary.sizes())
    heads = (
        kind, "pictures", "organoids", "per picture", "± SD", f"median diameter, {summary.unit}",
        "middle half", f"sizes, 0 to {figure(end)} {summary.unit}",
    )  # fmt: skip
    rows = "".join(_group_row(summary, group, end) for group in groups)
    return (
        f"<section><h2>{_TITLES[kind]}</h2><p>Sizes: the bar is the median, the box the middle half of the organoids, "
        "the line nine tenths of them.</p>"
        f"{_table('groups', heads, rows, plain=(7,))}</section>"
    )


def _group_row(summary: Summary, group: Group, end: float) -> str:
    counts = np.array([picture.count for picture in group.pictures], float)
    sizes = summary.sizes(group.pictures)
    spread = float(counts.std(ddof=1)) if len(counts) > 1 else math.nan
    first, middle, third = np.percentile(sizes, [25, 50, 75]) if sizes.size else (math.nan,) * 3
    middle_half = f"{figure(first)} to {figure(third)}" if sizes.size else "–"
    cells = [
        f'<td class="text">{text(group.name)}</td>',
        _cell(len(group.pictures)),
        _cell(group.count),
        _cell(float(counts.mean())),
        _cell(spread),
        _cell(float(middle)),
        f'<td data-v="{_value(float(third - first))}">{middle_half}</td>',
        f"<td>{box(sizes, end)}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def by_picture(summary: Summary, folder: Path) -> str:
    """A <section> with a row a picture, linked to its overlay where there is one."""
    placed = [
        place
        for place in ("plate", "well", "site", "time", "z")
        if len({picture.place[place] for picture in summary.pictures}) > 1
    ]
    end = upper_end(summary.sizes())
    heads = (
        "picture", *placed, "organoids", f"median diameter, {summary.unit}", "cut by the border", "overlapping",
        "notes", f"sizes, 0 to {figure(end)} {summary.unit}",
    )  # fmt: skip
    rows = "".join(
        _picture_row(summary, picture, placed, folder, end) for picture in summary.pictures
    )
    return (
        "<section><h2>Every picture</h2><p>Click a heading to sort, a picture to see it large. Every organoid has a "
        "row in <code>measurements.csv</code>, by the number that it has on the picture.</p>"
        '<input type="search" data-for="pictures" placeholder="show pictures called …" aria-label="filter">'
        f"{_table('pictures', heads, rows, plain=(len(heads) - 1,))}</section>"
    )


def _picture_row(
    summary: Summary, picture: Picture, placed: Sequence[str], folder: Path, end: float
) -> str:
    sizes = summary.sizes([picture])
    link = overlay_link(picture.key, folder)
    name = f'<a href="{link}">{text(picture.key)}</a>' if link else text(picture.key)
    notes = text("; ".join(picture.warnings))
    cells = [
        f'<td class="text">{name}</td>',
        *(f"<td>{text(picture.place[place] or '–')}</td>" for place in placed),
        _cell(picture.count),
        _cell(float(np.median(sizes)) if sizes.size else math.nan),
        _cell(picture.border),
        _cell(picture.overlapping),
        f'<td title="{notes}">{counted(len(picture.warnings), "note") if picture.warnings else ""}</td>',
        f"<td>{box(sizes, end, 120)}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _cell(value: float) -> str:
    return f'<td data-v="{_value(value)}">{figure(value)}</td>'


def _value(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _table(name: str, heads: Sequence[str], rows: str, plain: Sequence[int] = ()) -> str:
    titles = "".join(
        f"<th{'' if number in plain else ' data-sort'}>{text(head)}</th>"
        for number, head in enumerate(heads)
    )
    return f'<div class="scroll"><table id="{name}"><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>'
