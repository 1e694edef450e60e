"""The tables of tracks: a row an organoid and frame, a row a track, and the track beside each measurement."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from organoseg.core import DataError, atomic_write
from organoseg.io.csv_table import cell
from organoseg.tracking.tracks import SeriesTracks

POINT_COLUMNS = (
    "series",
    "track",
    "frame",
    "time",
    "image",
    "id",
    "y_px",
    "x_px",
    "area_px",
    "area_um2",
    "equivalent_diameter_px",
    "equivalent_diameter_um",
    "relative_area",
    "step_px",
    "frames_missed_before",
    "iou_with_last",
    "touches_border",
)
TRACK_COLUMNS = (
    "series",
    "track",
    "first_frame",
    "last_frame",
    "frames",
    "frames_missed",
    "origin",
    "parent",
    "fate",
    "heir",
    "first_area_px",
    "last_area_px",
    "first_area_um2",
    "last_area_um2",
    "growth_rate",
    "growth_rate_low",
    "growth_rate_high",
    "doubling_time",
    "per",
    "path_px",
    "net_px",
)
#: Columns that tracking adds to measurements.csv.
ADDED = ("series", "frame", "track")


def point_rows(series: SeriesTracks) -> Iterator[dict[str, Any]]:
    """A row for each organoid of each frame of each track, tracks in turn."""
    for track in series.tracks:
        whole = series.curve(track) or series.curve(track, whole_only=False)
        first = whole[0][1]
        last = None
        for node in track.nodes:
            frame, index = node
            facts = series.frames[frame]
            y, x = facts.centres[index].tolist()
            area = int(facts.areas[index])
            yield {
                "series": series.name,
                "track": track.number,
                "frame": frame,
                "time": facts.time,
                "image": facts.key,
                "id": int(facts.ids[index]),
                "y_px": y,
                "x_px": x,
                **_sizes(area, series.pixel_size),
                "relative_area": area / first,
                "step_px": None
                if last is None
                else math.dist(_settled(series, last), _settled(series, node)),
                "frames_missed_before": None if last is None else frame - last[0] - 1,
                "iou_with_last": None if last is None else series.iou.get((last, node)),
                "touches_border": bool(facts.at_border[index]),
            }
            last = node


def track_rows(series: SeriesTracks) -> Iterator[dict[str, Any]]:
    """A row for each track."""
    for track in series.tracks:
        places = [_settled(series, node) for node in track.nodes]
        areas = [int(series.frames[frame].areas[index]) for frame, index in track.nodes]
        micrometres = None if series.pixel_size is None else math.prod(series.pixel_size)
        rate = track.growth
        yield {
            "series": series.name,
            "track": track.number,
            "first_frame": track.nodes[0][0],
            "last_frame": track.nodes[-1][0],
            "frames": len(track.nodes),
            "frames_missed": track.missed,
            "origin": track.origin,
            "parent": track.parent,
            "fate": track.fate,
            "heir": track.heir,
            "first_area_px": areas[0],
            "last_area_px": areas[-1],
            "first_area_um2": None if micrometres is None else areas[0] * micrometres,
            "last_area_um2": None if micrometres is None else areas[-1] * micrometres,
            "growth_rate": None if rate is None else rate.rate,
            "growth_rate_low": None if rate is None else rate.low,
            "growth_rate_high": None if rate is None else rate.high,
            "doubling_time": None if rate is None else rate.doubling,
            "per": "hour" if series.hourly else "frame",
            "path_px": sum(math.dist(a, b) for a, b in pairwise(places)),
            "net_px": math.dist(places[0], places[-1]),
        }


def _sizes(area: int, pixel_size: tuple[float, float] | None) -> dict[str, float | None]:
    area_um2 = None if pixel_size is None else area * math.prod(pixel_size)
    return {
        "area_px": area,
        "area_um2": area_um2,
        "equivalent_diameter_px": math.sqrt(4 * area / math.pi),
        "equivalent_diameter_um": None if area_um2 is None else math.sqrt(4 * area_um2 / math.pi),
    }


def _settled(series: SeriesTracks, node: tuple[int, int]) -> tuple[float, float]:
    """Where an organoid is, in pixels of the first frame, without the drift of the field."""
    frame, index = node
    y, x = series.frames[frame].centres[index].tolist()
    way = series.drifts[: frame + 1]
    return y - sum(step[0] for step in way), x - sum(step[1] for step in way)


class TrackColumns:
    """Which track each organoid of each picture belongs to, held small: a run may have millions."""

    def __init__(self) -> None:
        self._pictures: dict[str, tuple[str, int, dict[int, int]]] = {}

    def add(self, series: SeriesTracks) -> None:
        """Take a series' tracks."""
        numbers: list[dict[int, int]] = [{} for _ in series.frames]
        for track in series.tracks:
            for frame, index in track.nodes:
                numbers[frame][int(series.frames[frame].ids[index])] = track.number
        for frame, (facts, own) in enumerate(zip(series.frames, numbers, strict=True)):
            self._pictures[cell(facts.key)] = (series.name, frame, own)

    def write_beside(self, path: Path) -> None:
        """Add the columns ADDED to measurements.csv, or exchange them; rows of other pictures get empty cells.

        DataError when the file is no table of measurements.
        """
        try:
            with path.open(encoding="utf-8", newline="") as handle:
                self._rewrite(csv.reader(handle), path)
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"not a table of measurements: {error}", where=path) from error

    def _rewrite(self, rows: Iterator[list[str]], path: Path) -> None:
        head = next(rows, [])
        if not {"image", "id"} <= set(head):
            raise DataError(
                "not a table of measurements: it has no columns image and id", where=path
            )
        kept = [place for place, name in enumerate(head) if name not in ADDED]
        image, number = head.index("image"), head.index("id")
        with atomic_write(path) as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            writer = csv.writer(text, lineterminator="\r\n")
            writer.writerow([*(head[place] for place in kept), *ADDED])
            for row in rows:
                added = self._cells(row[image], row[number])
                writer.writerow([*(row[place] for place in kept), *added])
            text.flush()
            text.detach()

    def _cells(self, image: str, number: str) -> Sequence[str]:
        name, frame, numbers = self._pictures.get(image, ("", 0, {}))
        track = numbers.get(int(number)) if number.isdecimal() else None
        return ("", "", "") if track is None else (cell(name), str(frame), str(track))
