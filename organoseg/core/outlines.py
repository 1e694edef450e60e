"""The outline of a mask along the edges of its pixels: exact, with holes and separate parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.core.mask import Mask

#: Corners (N, 2) of a closed line as (y, x), int32, the first not repeated; corner (y, x) is the upper left one of
#: pixel (y, x), so that the pixel's centre lies at (y + .5, x + .5).
Ring = NDArray[np.int32]

Point = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Part:
    """One connected piece (over edges, not corners) of a mask: its outer line, and one line a hole."""

    outer: Ring
    holes: tuple[Ring, ...] = ()


def outlines(mask: Mask) -> tuple[Part, ...]:
    """The parts of a mask, the largest first. Filling them by the even-odd rule gives the mask back, exactly.

    No line crosses or touches itself, which is what GeoJSON asks of a polygon; pieces that meet at a corner only are
    parts of their own, and the horizontal and vertical lines have no needless corners.
    """
    if mask.bits.all():
        top, left, bottom, right = mask.box
        corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
        return (Part(np.array(corners, np.int32)),)
    outer: list[Ring] = []
    holes: list[Ring] = []
    for ring in _rings(mask):
        (outer if _area(ring) > 0 else holes).append(ring)
    outer.sort(key=_area, reverse=True)
    if not holes:
        return tuple(Part(ring) for ring in outer)
    # The smallest outer line around a hole is the one whose hole it is.
    inside: list[list[Ring]] = [[] for _ in outer]
    for hole in holes:
        around = [i for i, ring in enumerate(outer) if _encloses(ring, hole)]
        inside[around[-1]].append(hole)
    return tuple(Part(ring, tuple(within)) for ring, within in zip(outer, inside, strict=True))


def _edges(mask: Mask) -> dict[Point, list[Point]]:
    """Steps of one pixel along the mask's border, with the mask on the right hand: start to ends."""
    padded = np.pad(mask.bits, 1)
    bits = padded[1:-1, 1:-1]
    following: dict[Point, list[Point]] = {}
    sides = (
        (padded[:-2, 1:-1], (0, 0), (0, 1)),  # above: to the right
        (padded[1:-1, 2:], (0, 1), (1, 1)),  # right: down
        (padded[2:, 1:-1], (1, 1), (1, 0)),  # below: to the left
        (padded[1:-1, :-2], (1, 0), (0, 0)),  # left: up
    )
    for neighbour, (a, b), (c, d) in sides:
        rows, columns = np.nonzero(bits & ~neighbour)
        for y, x in zip((rows + mask.y).tolist(), (columns + mask.x).tolist(), strict=True):
            following.setdefault((y + a, x + b), []).append((y + c, x + d))
    return following


def _rings(mask: Mask) -> Iterator[Ring]:
    following = _edges(mask)
    while following:
        start = next(iter(following))
        path: list[Point] = []
        place: dict[Point, int] = {}
        point, heading = start, (0, 0)
        while True:
            if point in place:
                # The line has come back to itself: what lies between is a ring of its own.
                loop = path[place[point] :]
                del path[place[point] :]
                for corner in loop:
                    del place[corner]
                yield _corners(loop)
                if not path and point not in following:
                    break
            place[point] = len(path)
            path.append(point)
            point, heading = _step(following, point, heading)


def _step(following: dict[Point, list[Point]], point: Point, heading: Point) -> tuple[Point, Point]:
    """Take an edge from `point`; where two pixels meet at a corner, the right turn stays with its pixel."""
    ends = following[point]
    chosen = 0
    if len(ends) > 1:
        right = (heading[1], -heading[0])  # (dy, dx) turned clockwise, with y pointing down
        chosen = next(
            (i for i, (y, x) in enumerate(ends) if (y - point[0], x - point[1]) == right), 0
        )
    end = ends.pop(chosen)
    if not ends:
        del following[point]
    return end, (end[0] - point[0], end[1] - point[1])


def _corners(loop: list[Point]) -> Ring:
    points = np.array(loop, np.int32)
    turns = (points - np.roll(points, 1, 0) != np.roll(points, -1, 0) - points).any(1)
    corners: Ring = points[turns]
    return corners


def _area(ring: Ring) -> float:
    """Signed: positive for an outer line, negative for a hole."""
    y, x = ring.astype(np.float64).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _encloses(outer: Ring, hole: Ring) -> bool:
    # A point just inside the hole, beside the middle of its first upright edge, so never on a line.
    y, x = _beside(hole)
    y0, x0 = outer[:, 0], outer[:, 1]
    y1, x1 = np.roll(y0, -1), np.roll(x0, -1)
    crossing = (np.minimum(y0, y1) < y) & (y < np.maximum(y0, y1)) & (x0 == x1) & (x0 > x)
    return bool(np.count_nonzero(crossing) % 2)


def _beside(ring: Ring) -> tuple[float, float]:
    after = np.roll(ring, -1, 0)
    upright = int(np.flatnonzero(ring[:, 1] == after[:, 1])[0])
    (y0, x), (y1, _) = ring[upright].tolist(), after[upright].tolist()
    # A hole has the mask on its right hand too, so its own inside lies to the left of the way we go.
    return min(y0, y1) + 0.5, x + (0.5 if y1 > y0 else -0.5)
