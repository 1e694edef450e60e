"""From the organoids of a series' frames to tracks: two rounds of optimal assignment (Jaqaman et al. 2008)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from organoseg.core import DataError, Instances, MissingPartError
from organoseg.tracking.cost import CUTOFF, LinkSettings, link_costs, shared_area
from organoseg.tracking.drift import drift

#: An organoid of a series: the frame's place in it, and its index among the frame's organoids.
Node = tuple[int, int]
#: An organoid is covered by another one that lies on at least this share of it.
COVERED = 0.6


@dataclass(frozen=True, eq=False)
class Links:
    """Tracks of a series.

    tracks: in the order of their first organoids.
    drifts: shift (y, x) of the field in pixels since the frame before.
    iou: of the two masks of each link, after the field's drift.
    next_host, last_host: the organoid of the next (the last) frame that covers most of this one, where one does.
    """

    tracks: tuple[tuple[Node, ...], ...]
    drifts: tuple[tuple[float, float], ...]
    iou: dict[tuple[Node, Node], float]
    next_host: dict[Node, Node]
    last_host: dict[Node, Node]


def link(frames: Iterable[Instances], settings: LinkSettings | None = None) -> Links:
    """Link the organoids of frames in their order; every organoid is in exactly one track.

    Only ``gap + 1`` frames and the newest are held at a time. First, each frame is linked with the next at the least
    total cost; then ends of tracks are linked with beginnings up to ``gap`` frames later.

    Raises
    ------
    DataError
        Frames of different sizes: they are no series.
    MissingPartError
        laptrack is not installed.
    """
    notes = _Notes(settings or LinkSettings())
    for found in frames:
        notes.add(found)
    costs = {pair: cost for pair, (cost, _) in notes.table.items()}
    tracks = _solve(notes.counts, costs, notes.settings.gap)
    made = [pair for nodes in tracks for pair in pairwise(nodes)]
    iou = {pair: notes.table[pair][1] for pair in made}
    return Links(tracks, tuple(notes.drifts), iou, notes.next_host, notes.last_host)


class _Notes:
    """What is kept of frames while they pass: costs of the links that are possible, and who covers whom."""

    def __init__(self, settings: LinkSettings) -> None:
        self.settings = settings
        self.table: dict[tuple[Node, Node], tuple[float, float]] = {}
        self.counts: list[int] = []
        self.drifts: list[tuple[float, float]] = []
        self.next_host: dict[Node, Node] = {}
        self.last_host: dict[Node, Node] = {}
        self._recent: deque[tuple[int, Instances]] = deque(maxlen=settings.gap + 1)

    def add(self, found: Instances) -> None:
        """Take the next frame."""
        place, before = len(self.counts), self._recent[-1][1] if self._recent else None
        if before is not None and before.shape != found.shape:
            raise DataError(
                f"The frames of a series have one size; frame {place} has {found.shape}, "
                f"the one before {before.shape}",
                remedy="Track fields of different sizes as series of their own.",
            )
        wanted = self.settings.drift and before is not None
        self.drifts.append(drift(before, found) if wanted and before is not None else (0.0, 0.0))
        self.counts.append(len(found))
        for earlier, old in self._recent:
            self._add_costs(earlier, old, place, found)
        self._recent.append((place, found))

    def _add_costs(self, earlier: int, old: Instances, place: int, found: Instances) -> None:
        way = np.sum(self.drifts[earlier + 1 : place + 1], axis=0)
        shift = (float(way[0]), float(way[1]))
        shared = shared_area(old, found, shift)
        costs = link_costs(old, found, shift, shared, place - earlier, self.settings)
        columns = (costs.rows, costs.columns, costs.cost, costs.iou)
        for i, j, cost, iou in zip(*(column.tolist() for column in columns), strict=True):
            self.table[(earlier, i), (place, j)] = (cost, iou)
        if place == earlier + 1:
            self._note_hosts(earlier, old.areas.tolist(), found.areas.tolist(), shared)

    def _note_hosts(
        self, earlier: int, old: list[int], new: list[int], shared: dict[tuple[int, int], int]
    ) -> None:
        for (i, j), count in sorted(shared.items(), key=lambda item: item[1]):
            if count >= COVERED * old[i]:
                self.next_host[earlier, i] = (earlier + 1, j)
            if count >= COVERED * new[j]:
                self.last_host[earlier + 1, j] = (earlier, i)


def _solve(
    counts: Sequence[int], costs: Mapping[tuple[Node, Node], float], gap: int
) -> tuple[tuple[Node, ...], ...]:
    alone = [(frame, index) for frame, count in enumerate(counts) for index in range(count)]
    if not costs:
        return tuple((node,) for node in alone)
    graph = _assigned(counts, costs, gap)
    return _chains(alone, [(start, end) for start, end in graph.edges()])


def _assigned(counts: Sequence[int], costs: Mapping[tuple[Node, Node], float], gap: int) -> Any:
    try:
        from laptrack import LapTrack
    except ImportError as error:
        raise MissingPartError(
            "tracking needs laptrack", remedy="pip install 'organoseg[track]'"
        ) from error
    plain = {(*start, *end): cost for (start, end), cost in costs.items()}

    def cost(a: Any, b: Any) -> float:
        return plain.get((int(a[0]), int(a[1]), int(b[0]), int(b[1])), np.inf)

    # Half the cutoff to end and half to begin: a link is made exactly where it costs less than not making it, and
    # the answer for one place does not depend on what else the frame holds.
    half = CUTOFF / 2
    solver = LapTrack(
        metric=cost,
        cutoff=CUTOFF,
        gap_closing_metric=cost,
        gap_closing_cutoff=CUTOFF if gap else False,
        gap_closing_max_frame_count=gap + 1,
        track_start_cost=half,
        track_end_cost=half,
        segment_start_cost=half,
        segment_end_cost=half,
        no_splitting_cost=half,
        no_merging_cost=half,
    )
    nodes = [
        np.array([(frame, index) for index in range(count)], np.float64).reshape(-1, 2)
        for frame, count in enumerate(counts)
    ]
    return solver.predict(nodes)


def _chains(
    nodes: Sequence[Node], edges: Iterable[tuple[Node, Node]]
) -> tuple[tuple[Node, ...], ...]:
    following = {_node(start): _node(end) for start, end in edges}
    begun = set(following.values())
    tracks = []
    for node in nodes:
        if node in begun:
            continue
        track = [node]
        while track[-1] in following:
            track.append(following[track[-1]])
        tracks.append(tuple(track))
    return tuple(tracks)


def _node(pair: Any) -> Node:
    return int(pair[0]), int(pair[1])
