"""`organoseg track`: all series of a run, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from organoseg.core import DataError, Instances
from organoseg.io.csv_table import write_table
from organoseg.tracking.cost import LinkSettings
from organoseg.tracking.run_folder import pictures_of
from organoseg.tracking.series import Series, find_series
from organoseg.tracking.tables import (
    POINT_COLUMNS,
    TRACK_COLUMNS,
    TrackColumns,
    point_rows,
    track_rows,
)
from organoseg.tracking.tracks import SeriesTracks, track_series

POINTS, TRACKS, MEASUREMENTS = "tracks.csv", "growth.csv", "measurements.csv"


@dataclass(frozen=True)
class TrackSettings:
    """How a run is tracked; ``grammar``, ``by_folder`` and ``interval`` (hours) as `find_series` takes them."""

    links: LinkSettings = field(default_factory=LinkSettings)
    grammar: str | None = None
    by_folder: bool = False
    interval: float | None = None


@dataclass(frozen=True)
class TrackOutcome:
    """Series of the run, and those that could not be tracked: (name, reason)."""

    series: tuple[Series, ...]
    failures: tuple[tuple[str, str], ...]


def track_folder(
    out: Path,
    settings: TrackSettings | None = None,
    see: Callable[[Series, SeriesTracks], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrackOutcome:
    """Track every series of the run in ``out``; the pixels are not read again.

    Writes ``tracks.csv`` (a row an organoid and frame), ``growth.csv`` (a row a track), and into ``measurements.csv``,
    where the run has one, the columns series, frame and track. Each series goes to ``see`` when it is linked;
    ``progress`` is called with series done and in all. Doing it again replaces what was there. A series with a damaged
    file, or with frames of two sizes, is a failure and costs no other series.

    Raises
    ------
    DataError
        No run, no series, or none that can be tracked.
    UsageError
        The grammar is none.
    MissingPartError
        laptrack is not installed.
    RunError
        The files cannot be written.
    """
    settings = settings or TrackSettings()
    found = find_series(pictures_of(out), settings.grammar, settings.by_folder, settings.interval)
    columns = TrackColumns()
    tracks: list[dict[str, Any]] = []
    failures: list[tuple[str, str]] = []

    def points() -> Iterator[dict[str, Any]]:
        for done, series in enumerate(found, start=1):
            try:
                linked = _linked(series, settings.links)
            except DataError as error:
                if len(failures) == len(found) - 1:
                    raise  # not one could be tracked
                failures.append((series.name, str(error)))
                continue
            yield from point_rows(linked)
            tracks.extend(track_rows(linked))
            columns.add(linked)
            if see is not None:
                see(series, linked)
            if progress is not None:
                progress(done, len(found))

    write_table(out / POINTS, POINT_COLUMNS, points())
    write_table(out / TRACKS, TRACK_COLUMNS, tracks)
    if (out / MEASUREMENTS).exists():
        columns.write_beside(out / MEASUREMENTS)
    return TrackOutcome(found, tuple(failures))


def _linked(series: Series, links: LinkSettings) -> SeriesTracks:
    size = series.pictures[0].pixel_size
    return track_series(series.name, _frames(series), links, series.hourly, size)


def _frames(series: Series) -> Iterator[tuple[str, float, Instances]]:
    for picture, time in zip(series.pictures, series.times, strict=True):
        yield picture.key, time, picture.organoids()
