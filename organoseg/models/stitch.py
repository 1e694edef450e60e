"""One set of organoids from what was seen in overlapping windows.

An organoid in the overlap of two windows is seen twice. The window in which it lies deeper has seen more around it, so
its outline stays. One that reaches beyond every window that sees it is put together from its pieces. Organoids that
truly lie over each other are never confused with copies: copies come from different windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances, Mask
from organoseg.core.overlap import pair_intersections
from organoseg.models.tiles import Window

#: Two windows see the same organoid where they agree on more than this part of what both can see of it (IoU).
SAME = 0.5
#: A window leaves an organoid to another one that sees it deeper by more than this (px).
DEEPER = 8.0


@dataclass(frozen=True, eq=False)
class _Candidate:
    window: int
    mask: Mask
    score: float
    class_: int
    depth: float

    @property
    def cut(self) -> bool:
        """It touches a side at which its window cuts the image."""
        return self.depth <= 0


def stitch(
    shape: tuple[int, int], windows: Sequence[Window], seen: Sequence[Instances]
) -> Instances:
    """Organoids of an image of ``shape``, best score first; ``seen`` has those of each window in its own pixels."""
    if len(windows) == 1:
        return seen[0]
    found = [
        c for n, w in enumerate(windows) for c in _candidates(n, w, seen[n]) if _judges(c, windows)
    ]
    # Whole ones first, the deepest before the others: they need no copy.
    found.sort(key=lambda c: (c.cut, -min(c.depth, 1e9), -c.score))
    same = _same(shape, found, windows)
    free = np.ones(len(found), bool)
    masks: list[Mask] = []
    scores: list[float] = []
    classes: list[int] = []
    for number, seed in enumerate(found):
        if not free[number]:
            continue
        members = _copies(number, found, same, free, grow=seed.cut)
        free[members] = False
        masks.append(_union([found[m].mask for m in members]) if seed.cut else seed.mask)
        scores.append(max(found[m].score for m in members) if seed.cut else seed.score)
        classes.append(seed.class_)
    whole = Instances.from_masks(
        shape, masks, scores=np.array(scores, np.float32), classes=np.array(classes, np.int32)
    )
    return whole.select(np.argsort(-whole.scores, kind="stable"))


def _candidates(number: int, window: Window, seen: Instances) -> list[_Candidate]:
    found = []
    for mask, score, class_ in zip(seen.masks, seen.scores, seen.classes, strict=True):
        moved = Mask(mask.y + window.y, mask.x + window.x, mask.bits)
        depth = window.depth_of(moved.box)
        found.append(_Candidate(number, moved, float(score), int(class_), depth))
    return found


def _judges(one: _Candidate, windows: Sequence[Window]) -> bool:
    """Whether no other window is clearly in a better place to say that this organoid is there, and how it looks."""
    y0, x0, y1, x1 = one.mask.box
    if one.cut:
        # Where another window has all of it well inside, what is seen here is a piece.
        return not any(
            w.depth_of(one.mask.box) > DEEPER for w in windows if w is not windows[one.window]
        )
    y, x = (y0 + y1) / 2, (x0 + x1) / 2
    return windows[one.window].depth(y, x) >= max(w.depth(y, x) for w in windows) - DEEPER


def _same(
    shape: tuple[int, int], found: Sequence[_Candidate], windows: Sequence[Window]
) -> list[list[tuple[float, int]]]:
    """For each candidate those of other windows that show the same organoid, with the IoU of what both could see.

    At most one of each other window, the surest pairs first: a piece of a large organoid that looks much like a smaller
    one over it is not taken for that one's copy while there is a better match.
    """
    close: list[tuple[float, int, int]] = []
    every = Instances.from_masks(shape, [c.mask for c in found])
    pairs = pair_intersections(every.masks, every.masks, every.boxes, every.boxes)
    for i, j, common in zip(*(column.tolist() for column in pairs), strict=True):
        a, b = found[i], found[j]
        if i >= j or a.window == b.window or a.class_ != b.class_:
            continue
        first, second = windows[a.window], windows[b.window]
        iou = common / max(_inside(a.mask, second) + _inside(b.mask, first) - common, 1)
        if iou > SAME:
            close.append((-iou, i, j))
    near: list[list[tuple[float, int]]] = [[] for _ in found]
    matched: set[tuple[int, int]] = set()
    for negative, i, j in sorted(close):
        pair = {(i, found[j].window), (j, found[i].window)}
        if not pair & matched:
            matched |= pair
            near[i].append((-negative, j))
            near[j].append((-negative, i))
    return [sorted(others, reverse=True) for others in near]


def _inside(mask: Mask, window: Window) -> int:
    """Pixels of a mask in a window."""
    top, left = max(window.y - mask.y, 0), max(window.x - mask.x, 0)
    bottom, right = window.y + window.height - mask.y, window.x + window.width - mask.x
    return int(np.count_nonzero(mask.bits[top : max(bottom, 0), left : max(right, 0)]))


def _copies(
    seed: int,
    found: Sequence[_Candidate],
    same: Sequence[Sequence[tuple[float, int]]],
    free: NDArray[np.bool_],
    grow: bool,
) -> list[int]:
    """The seed and its copies, at most one a window; ``grow``: also copies of copies, piece by piece."""
    members, seen = [seed], {found[seed].window}
    for member in members:
        for _, other in same[member]:
            if free[other] and found[other].window not in seen:
                members.append(other)
                seen.add(found[other].window)
        if not grow:
            break
    return members


def _union(masks: Sequence[Mask]) -> Mask:
    boxes = np.array([mask.box for mask in masks])
    y0, x0 = boxes[:, :2].min(axis=0).tolist()
    y1, x1 = boxes[:, 2:].max(axis=0).tolist()
    bits = np.zeros((y1 - y0, x1 - x0), bool)
    for mask in masks:
        top, left = mask.y - y0, mask.x - x0
        bits[top : top + mask.bits.shape[0], left : left + mask.bits.shape[1]] |= mask.bits
    return Mask(y0, x0, bits)
