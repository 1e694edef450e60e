"""The tracks of a series with all that tables and pictures say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances
from organoseg.tracking.cost import LinkSettings, centres
from organoseg.tracking.growth import Growth, growth
from organoseg.tracking.link import Links, Node, link

Origin = Literal["from the start", "came in", "split off", "came out of", "appeared"]
Fate = Literal["to the end", "went out", "merged into", "hidden by", "lost"]

#: Of two that became one, the area that the other has to gain: this share of the one that is gone.
_TAKEN = 0.5


@dataclass(frozen=True, eq=False)
class FrameFacts:
    """One frame without its masks.

    key: of the picture in its run; time: hours, or the number of the frame; ids: the organoids' numbers in table and
    pictures; centres (N, 2) as (y, x) in pixels; areas (N,) in pixels; at_border (N,): the mask touches the border.
    """

    key: str
    time: float
    ids: NDArray[np.int64]
    centres: NDArray[np.float64]
    areas: NDArray[np.int64]
    at_border: NDArray[np.bool_]

    @staticmethod
    def of(key: str, time: float, found: Instances) -> FrameFacts:
        """What is kept of a frame."""
        y0, x0, y1, x1 = found.boxes.T
        border = (y0 == 0) | (x0 == 0) | (y1 == found.shape[0]) | (x1 == found.shape[1])
        return FrameFacts(key, time, found.ids, centres(found), found.areas, border)


@dataclass(frozen=True, eq=False)
class Track:
    """One organoid over time.

    number: from 1 in its series, by first frame, then as the first frame numbers its organoids.
    nodes: (place of the frame, index in the frame), rising.
    origin, fate: how it begins and ends; ``parent`` and ``heir`` are the tracks that these name, where they name one.
    growth: of its area, per hour or per frame; frames in which it touches the border do not count.
    """

    number: int
    nodes: tuple[Node, ...]
    origin: Origin
    fate: Fate
    parent: int | None
    heir: int | None
    growth: Growth | None

    @property
    def missed(self) -> int:
        """Frames between its first and last one in which it was not found."""
        return self.nodes[-1][0] - self.nodes[0][0] + 1 - len(self.nodes)


@dataclass(frozen=True, eq=False)
class SeriesTracks:
    """A series: its frames in order, its tracks, and the field's drift (y, x) in pixels since the frame before.

    ``hourly`` says whether times are hours. ``pixel_size`` (y, x) in µm, or None.
    """

    name: str
    frames: tuple[FrameFacts, ...]
    tracks: tuple[Track, ...]
    drifts: tuple[tuple[float, float], ...]
    iou: Mapping[tuple[Node, Node], float]
    hourly: bool
    pixel_size: tuple[float, float] | None = None

    def numbers(self) -> dict[Node, int]:
        """The track of each organoid."""
        return {node: track.number for track in self.tracks for node in track.nodes}

    def curve(self, track: Track, whole_only: bool = True) -> list[tuple[float, float]]:
        """(time, area in pixels) of a track; ``whole_only`` leaves out frames where the border cuts it."""
        return [
            (self.frames[frame].time, float(self.frames[frame].areas[index]))
            for frame, index in track.nodes
            if not (whole_only and self.frames[frame].at_border[index])
        ]


def track_series(
    name: str,
    frames: Iterable[tuple[str, float, Instances]],
    settings: LinkSettings | None = None,
    hourly: bool = False,
    pixel_size: tuple[float, float] | None = None,
) -> SeriesTracks:
    """Link a series given as (key, time, organoids) in the order of time; few frames are held at once.

    Raises
    ------
    DataError
        Frames of different sizes.
    MissingPartError
        laptrack is not installed.
    """
    facts: list[FrameFacts] = []

    def passing() -> Iterator[Instances]:
        for key, time, found in frames:
            facts.append(FrameFacts.of(key, time, found))
            yield found

    links = link(passing(), settings)
    bare = SeriesTracks(name, tuple(facts), (), links.drifts, links.iou, hourly, pixel_size)
    return SeriesTracks(
        name,
        bare.frames,
        tuple(_told(bare, links)),
        links.drifts,
        links.iou,
        hourly,
        pixel_size,
    )


def _told(series: SeriesTracks, links: Links) -> Iterator[Track]:
    """The tracks with origin, fate and growth."""
    ordered = sorted(links.tracks, key=lambda nodes: _place(series, nodes[0]))
    number_of = {node: n for n, nodes in enumerate(ordered, start=1) for node in nodes}
    following = dict(pair for nodes in ordered for pair in pairwise(nodes))
    before = {end: start for start, end in following.items()}
    for number, nodes in enumerate(ordered, start=1):
        origin, parent = _origin(series, links, nodes[0], following)
        fate, heir = _fate(series, links, nodes[-1], before)
        bare = Track(number, nodes, origin, fate, None, None, None)
        points = series.curve(bare)
        rate = growth([time for time, _ in points], [area for _, area in points])
        yield Track(
            number,
            nodes,
            origin,
            fate,
            None if parent is None else number_of[parent],
            None if heir is None else number_of[heir],
            rate,
        )


def _place(series: SeriesTracks, node: Node) -> tuple[int, int]:
    frame, index = node
    return frame, int(series.frames[frame].ids[index])


def _fate(
    series: SeriesTracks, links: Links, node: Node, before: Mapping[Node, Node]
) -> tuple[Fate, Node | None]:
    frame, index = node
    if frame == len(series.frames) - 1:
        return "to the end", None
    host = links.next_host.get(node)
    # Only one that was there already can have taken it in.
    if host is not None and (old := before.get(host)) is not None and old[0] == frame:
        gained = _area(series, host) - _area(series, old)
        merged = gained >= _TAKEN * _area(series, node)
        return ("merged into" if merged else "hidden by"), host
    return ("went out" if series.frames[frame].at_border[index] else "lost"), None


def _origin(
    series: SeriesTracks, links: Links, node: Node, following: Mapping[Node, Node]
) -> tuple[Origin, Node | None]:
    frame, index = node
    if frame == 0:
        return "from the start", None
    host = links.last_host.get(node)
    # Only one that goes on can have shed it.
    if host is not None and (rest := following.get(host)) is not None and rest[0] == frame:
        shed = _area(series, host) - _area(series, rest)
        split = shed >= _TAKEN * _area(series, node)
        return ("split off" if split else "came out of"), host
    return ("came in" if series.frames[frame].at_border[index] else "appeared"), None


def _area(series: SeriesTracks, node: Node) -> int:
    return int(series.frames[node[0]].areas[node[1]])
