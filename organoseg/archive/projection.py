"""What a sample shows of a z-stack: its sharpest plane, any plane, or the maximum or minimum over all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from organoseg.archive.manifest import Manifest, PlaneKey
from organoseg.core import Intensity, UsageError

ZMode = Literal["best", "max", "min", "any"]


@dataclass(frozen=True, eq=False)
class Views:
    """What may be drawn: one row a view, int64 each.

    ``plane``: the row that stands for it (its cells, its z); ``first``, ``last``: the rows of its stack within
    ``members``, which holds rows of planes, stack by stack in order of z.
    """

    plane: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    members: NDArray[np.int64]

    def stack(self, view: int) -> NDArray[np.int64]:
        """Rows of the planes that the view is projected from."""
        return self.members[self.first[view] : self.last[view]]


def check_mode(z: str) -> None:
    """UsageError for an unknown mode."""
    if z not in get_args(ZMode):
        raise UsageError(
            f"No way to see a z-stack is called {z!r}", remedy=f"Give one of {get_args(ZMode)}."
        )


def forbidden_planes(
    manifest: Manifest, exclude: Collection[PlaneKey], groups: Collection[str]
) -> NDArray[np.bool_]:
    """Which planes must not be seen: the excluded, those of excluded groups, and all with the same pixels."""
    planes, wanted = manifest.planes, set(exclude)
    out = np.zeros(len(planes.array), bool)
    if groups:
        names = set(groups)
        of_group = np.array([a.group in names for a in manifest.arrays], bool)
        out |= of_group[planes.array]
    if wanted:
        images = {key[0] for key in wanted}
        touched = np.array([a.image in images for a in manifest.arrays], bool)
        for row in np.flatnonzero(touched[planes.array]):
            out[row] |= manifest.key(int(row)) in wanted
    if out.any():
        out = np.isin(planes.twin, planes.twin[out])
    return out


def views_of(manifest: Manifest, z: ZMode, forbidden: NDArray[np.bool_]) -> Views:
    """The views of an archive; of planes with the same pixels one stays.

    A stack with one forbidden plane gives no projection: the plane would shine through. Its other planes may still be
    seen one by one, except that "best" then means the best of the whole stack, or none.
    """
    planes = manifest.planes
    order = np.lexsort((planes.z, planes.c, planes.t, planes.array))
    a, t, c = planes.array[order], planes.t[order], planes.c[order]
    changes = (np.diff(a) != 0) | (np.diff(t) != 0) | (np.diff(c) != 0)
    first = np.concatenate([[0], np.flatnonzero(changes) + 1]) if len(order) else np.zeros(0, int)
    last = np.append(first[1:], len(order))
    if z == "any":
        place = np.arange(len(order))
        seen = Views(order, place, place + 1, order)
    else:
        stack = np.repeat(np.arange(len(first)), last - first)
        focus = np.nan_to_num(planes.focus[order], nan=-np.inf)
        # Sorted by stack, then from sharp to blurred (the lower z where two are alike).
        best = np.lexsort((planes.z[order], -focus, stack))[first] if len(order) else order
        seen = Views(order[best], first, last, order)
        if z == "best":
            place = np.arange(len(first))
            seen = Views(seen.plane, place, place + 1, seen.plane)
    return _kept(seen, planes.twin, forbidden)


def _kept(views: Views, twin: NDArray[Any], forbidden: NDArray[np.bool_]) -> Views:
    bad = np.concatenate([[0], np.cumsum(forbidden[views.members])])
    allowed = bad[views.last] == bad[views.first]
    rows = np.flatnonzero(allowed)
    _, unique = np.unique(twin[views.plane[rows]], return_index=True)
    rows = rows[np.sort(unique)]
    return Views(views.plane[rows], views.first[rows], views.last[rows], views.members)


def project(planes: Sequence[NDArray[Any]], z: ZMode) -> NDArray[Any]:
    """One picture out of planes of one shape: their maximum or minimum; "best" and "any" have only one."""
    if len(planes) == 1:
        return planes[0]
    combine = np.maximum if z == "max" else np.minimum
    found = planes[0].copy()
    for plane in planes[1:]:
        combine(found, plane, out=found)
    return found


def intensity_of(manifest: Manifest, rows: NDArray[np.int64], z: ZMode) -> Intensity:
    """The `Intensity` of a view. That of a projection is the projection of its planes' percentiles.

    It is near the projection's own percentiles, and known without reading the stack.
    """
    planes = manifest.planes
    combine = np.min if z == "min" else np.max
    low, middle, high = (
        float(combine(column[rows])) for column in (planes.low, planes.middle, planes.high)
    )
    return Intensity(low, middle, high)
