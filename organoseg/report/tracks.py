"""The page of `organoseg track`: who grew, who came, who went."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from organoseg.core import DataError, Instances, write_text
from organoseg.core.outlines import outlines
from organoseg.report.growth_chart import count_curve, growth_curves, track_colour
from organoseg.report.style import CSS
from organoseg.tracking.run_folder import Picture
from organoseg.tracking.series import Series
from organoseg.tracking.tracks import SeriesTracks, Track

PAGE = "tracks.html"
#: Series that are shown whole; the page of a plate of thousands would not open.
SHOWN = 12
#: Frames of a series that are drawn, and rows of its table.
FRAMES, ROWS = 6, 60

_STYLE = """
.film { display: grid; gap: 10px; grid-template-columns: repeat(3, 1fr); margin-top: 12px; }
.film figure { margin: 0; min-width: 0; }
.film svg { max-width: none; background: #2a2f36; border-radius: 4px; }
.film svg text { font-weight: 600; paint-order: stroke; stroke: #000; stroke-width: 3px; }
.film .ground { filter: grayscale(1) brightness(.75); }
.film figcaption { font-size: .82rem; color: var(--soft); overflow-wrap: anywhere; }
.pair { display: grid; gap: 20px; grid-template-columns: 3fr 2fr; align-items: end; }
td.num { text-align: right; }
@media (max-width: 760px) { .film, .pair { grid-template-columns: 1fr; } }
"""

#: Series whose curves stand in the run's own report too.
IN_REPORT = 4
_BEGIN, _END = "<!-- tracks: begin -->", "<!-- tracks: end -->"


class TracksPage:
    """Collects the series of the run in ``folder`` as they are linked, and writes the page."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sections: list[str] = []
        self._charts: list[str] = []
        self._rows: list[str] = []
        self._tracks = self._followed = self._frames = 0
        self._rates: list[float] = []
        self._unit = "frame"

    def add(self, series: Series, linked: SeriesTracks) -> None:
        """Take a series; only the first SHOWN are drawn."""
        rates = [track.growth.rate for track in linked.tracks if track.growth is not None]
        self._tracks += len(linked.tracks)
        self._followed += sum(len(track.nodes) > 1 for track in linked.tracks)
        self._frames += len(linked.frames)
        self._rates += rates
        self._unit = "hour" if linked.hourly else "frame"
        counts = [len(facts.ids) for facts in linked.frames]
        self._rows.append(
            _cells(
                linked.name,
                len(linked.frames),
                len(linked.tracks),
                f"{counts[0]} → {counts[-1]}",
                _percent(median(rates)) if rates else "",
            )
        )
        if len(self._sections) < SHOWN:
            self._sections.append(self._section(series, linked))

    def summary(self) -> str:
        """What was found, in a sentence or two."""
        series = len(self._rows)
        text = (
            f"{self._tracks} organoids in {series} series of {self._frames} pictures in all; "
            f"{self._followed} were seen in more than one."
        )
        if self._rates:
            text += (
                f" Their areas grew by {_percent(median(self._rates))} per {self._unit} (median)."
            )
        return text

    def write(self) -> Path:
        """Write tracks.html into the folder; it appears when it is whole."""
        from organoseg import __version__

        path = self._folder / PAGE
        left = len(self._rows) - len(self._sections)
        more = (
            f'<p class="soft">The other {left} series are in tracks.csv and growth.csv.</p>'
            if left
            else ""
        )
        head = (
            "series",
            "frames",
            "tracks",
            "organoids, first → last frame",
            f"growth per {self._unit}",
        )
        write_text(
            path,
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>organoseg: organoids over time</title><style>{CSS}{_STYLE}</style></head><body><main>"
            f'<h1>Organoids over time</h1><p class="lead">{escape(self.summary())}</p>'
            f"<section><h2>Series</h2>{_table(head, self._rows)}</section>"
            f"{''.join(self._sections)}{more}"
            f"<footer>organoseg {escape(__version__)}. The figures are in tracks.csv and growth.csv beside this "
            "page.</footer></main></body></html>\n",
        )
        return path

    def add_to_report(self, report: Path) -> None:
        """Put the summary and the first growth curves at the end of the run's report, or exchange them there.

        DataError when the page is not one that organoseg wrote.
        """
        page = report.read_text(encoding="utf-8")
        head, _, rest = page.partition(_BEGIN)
        if rest:
            page = head + rest.partition(_END)[2]
        place = page.rfind("</main>")
        if place < 0:
            raise DataError("this page is no report of organoseg's", where=report)
        more = f'<p><a href="{PAGE}">All series, with pictures and a table of tracks</a></p>'
        section = (
            f"{_BEGIN}<section><h2>Organoids over time</h2><p>{escape(self.summary())}</p>"
            f"{''.join(self._charts)}{more}</section>{_END}"
        )
        write_text(report, page[:place] + section + page[place:])

    def _section(self, series: Series, linked: SeriesTracks) -> str:
        unit = "hours" if linked.hourly else "frames"
        start = {t.number: linked.curve(t) for t in linked.tracks if t.origin == "from the start"}
        counts = [(facts.time, float(len(facts.ids))) for facts in linked.frames]
        chart = growth_curves(start, unit)
        if chart and len(self._charts) < IN_REPORT:
            self._charts.append(f"<h3>{escape(linked.name)}</h3>{chart}")
        told = (
            "<p>Each line is an organoid that was there from the start, in its colour of the pictures; the black line "
            "is their median. Frames in which the border cuts an organoid are left out.</p>"
            if chart
            else "<p>No organoid could be followed from the start.</p>"
        )
        return (
            f"<section><h2>{escape(linked.name)}</h2>{told}"
            f'<div class="pair"><div>{chart}</div><div>{count_curve(counts, unit)}</div></div>'
            f'<div class="film">{"".join(self._film(series, linked))}</div>'
            f"{_track_table(linked)}</section>"
        )

    def _film(self, series: Series, linked: SeriesTracks) -> Iterable[str]:
        last = len(linked.frames) - 1
        places = sorted({round(last * step / (FRAMES - 1)) for step in range(FRAMES)})
        numbers = linked.numbers()
        for place in places:
            picture = series.pictures[place]
            yield _figure(linked, place, picture.organoids(), numbers, _ground(picture))


def _ground(picture: Picture) -> str | None:
    """The frame's small picture as the value of an href, or None."""
    if picture.thumbnail is None:
        return None
    data = base64.b64encode(picture.thumbnail.read_bytes()).decode("ascii")
    return f"data:image/jpeg;base64,{data}"


def _figure(
    linked: SeriesTracks,
    place: int,
    found: Instances,
    numbers: dict[tuple[int, int], int],
    ground: str | None,
) -> str:
    """One frame: outlines in the colours of their tracks, numbers, and the way of the last frames."""
    height, width = found.shape
    line = max(height, width) / 330
    parts = []
    if ground is not None:
        parts.append(
            f'<image href="{escape(ground)}" width="{width}" height="{height}" '
            'preserveAspectRatio="none" class="ground"/>'
        )
    where = {number: node for node, number in numbers.items() if node[0] == place}
    trails = {number: _trail(linked, number, place, numbers) for number in where}
    for number, (_, index) in where.items():
        colour = track_colour(number)
        parts.append(
            f'<path d="{_path(found, index)}" fill="none" stroke="{colour}" stroke-width="{1.3 * line:.2f}">'
            f"<title>track {number}</title></path>"
        )
        if trails[number]:
            parts.append(
                f'<polyline points="{trails[number]}" fill="none" stroke="{colour}" '
                f'stroke-width="{0.9 * line:.2f}" stroke-opacity=".8"/>'
            )
    for number, (_, index) in where.items():
        y, x = linked.frames[place].centres[index].tolist()
        size = max(8 * line, min(12 * line, math.sqrt(float(found.areas[index])) * 0.5))
        parts.append(
            f'<text x="{x:.0f}" y="{y + size / 3:.0f}" text-anchor="middle" '
            f'style="fill:{track_colour(number)};font-size:{size:.1f}px;stroke-width:{line:.1f}px">{number}</text>'
        )
    facts = linked.frames[place]
    unit = " h" if linked.hourly else ""
    caption = f"frame {place}, time {facts.time:.4g}{unit}: {facts.key}"
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(caption)}">{"".join(parts)}</svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _trail(
    linked: SeriesTracks, number: int, place: int, numbers: dict[tuple[int, int], int]
) -> str:
    nodes = [node for node in linked.tracks[number - 1].nodes if node[0] <= place][-6:]
    points = [linked.frames[frame].centres[index].tolist() for frame, index in nodes]
    return " ".join(f"{x:.1f},{y:.1f}" for y, x in points) if len(points) > 1 else ""


def _path(found: Instances, index: int) -> str:
    from skimage.measure import approximate_polygon

    steps = []
    for part in outlines(found.masks[index]):
        for ring in (part.outer, *part.holes):
            closed = [*ring.tolist(), ring[0].tolist()]
            points = approximate_polygon(_array(closed), 0.8)[:-1]
            steps.append("M" + "L".join(f"{x:.0f} {y:.0f}" for y, x in points) + "Z")
    return "".join(steps)


def _array(points: list[list[int]]) -> Any:
    import numpy as np

    return np.array(points, np.float64)


def _track_table(linked: SeriesTracks) -> str:
    longest = sorted(linked.tracks, key=lambda track: (-len(track.nodes), track.number))[:ROWS]
    unit = "h" if linked.hourly else "frames"
    head = (
        "track",
        "frames",
        "missed",
        "begins",
        "ends",
        "diameter, first → last",
        f"growth per {'hour' if linked.hourly else 'frame'}",
        f"doubles in ({unit})",
    )
    rows = [_track_row(linked, track) for track in sorted(longest, key=lambda t: t.number)]
    left = len(linked.tracks) - len(rows)
    more = f'<p class="soft">{left} shorter tracks are in growth.csv.</p>' if left else ""
    return f'<div class="scroll">{_table(head, rows)}</div>{more}'


def _track_row(linked: SeriesTracks, track: Track) -> str:
    first, last = (linked.frames[f].areas[i] for f, i in (track.nodes[0], track.nodes[-1]))
    rate = track.growth
    return _cells(
        track.number,
        f"{track.nodes[0][0]} to {track.nodes[-1][0]}",
        track.missed or "",
        track.origin + (f" {track.parent}" if track.parent else ""),
        track.fate + (f" {track.heir}" if track.heir else ""),
        f"{_across(linked, first)} → {_across(linked, last)}",
        ""
        if rate is None
        else f"{_percent(rate.rate)} <small>({_percent(rate.low)} to {_percent(rate.high)})</small>",
        "" if rate is None or rate.doubling is None or rate.low <= 0 else f"{rate.doubling:.3g}",
        plain=(6,),
    )


def _across(linked: SeriesTracks, area: Any) -> str:
    if linked.pixel_size is None:
        return f"{math.sqrt(4 * float(area) / math.pi):.0f} px"
    return f"{math.sqrt(4 * float(area) * math.prod(linked.pixel_size) / math.pi):.0f} µm"


def _percent(rate: float) -> str:
    """A rate of ln(area) as the growth in one unit of time."""
    return f"{100 * math.expm1(rate):+.1f} %".replace("-", "−")


def _cells(*values: Any, plain: Sequence[int] = ()) -> str:
    texts = (str(v) if i in plain else escape(str(v)) for i, v in enumerate(values))
    return "<tr>" + "".join(f"<td>{text}</td>" for text in texts) + "</tr>"


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
