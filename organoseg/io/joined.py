"""Drawings that a tool keeps apart but calls one thing, joined into one organoid."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from organoseg.io.drawn import Area, Drawn, Pixels

_MOST_PIXELS = 1 << 30


@dataclass(frozen=True, eq=False)
class Piece:
    """A drawing, and the name that it shares with the other pieces of its organoid; None where it is whole."""

    drawn: Drawn
    group: Hashable = None


def joined(pieces: Sequence[Piece]) -> tuple[Drawn, ...]:
    """One `Drawn` an organoid, in the order of the first pieces.

    Pieces must be of one kind, polygons or masks; others become a fault.
    """
    groups: dict[Hashable, list[Drawn]] = {}
    for index, piece in enumerate(pieces):
        key = ("alone", index) if piece.group is None else ("group", piece.group)
        groups.setdefault(key, []).append(piece.drawn)
    return tuple(_join(members) for members in groups.values())


def _join(members: list[Drawn]) -> Drawn:
    first = members[0]
    if len(members) == 1:
        return first
    who = f"{first.who} and {len(members) - 1} more of its group"
    fault = next((m.fault for m in members if m.fault), "")
    if fault:
        return Drawn(who, Area(()), first.label, first.source, fault)
    areas = [m.shape for m in members if isinstance(m.shape, Area)]
    if len(areas) == len(members):
        return Drawn(who, Area(tuple(p for a in areas for p in a.parts)), first.label, first.source)
    masks = [m.shape for m in members if isinstance(m.shape, Pixels)]
    if len(masks) == len(members):
        if _spread(masks) > _MOST_PIXELS:
            return Drawn(who, Area(()), first.label, first.source, "masks too far from each other")
        return Drawn(who, _union(masks), first.label, first.source)
    return Drawn(who, Area(()), first.label, first.source, "group of drawings of several kinds")


def _spread(masks: list[Pixels]) -> int:
    height = max(m.y + len(m.bits) for m in masks) - min(m.y for m in masks)
    width = max(m.x + len(m.bits.T) for m in masks) - min(m.x for m in masks)
    return height * width


def _union(masks: list[Pixels]) -> Pixels:
    top, left = min(m.y for m in masks), min(m.x for m in masks)
    bottom = max(m.y + m.bits.shape[0] for m in masks)
    right = max(m.x + m.bits.shape[1] for m in masks)
    bits = np.zeros((bottom - top, right - left), np.bool_)
    for mask in masks:
        y, x = mask.y - top, mask.x - left
        bits[y : y + mask.bits.shape[0], x : x + mask.bits.shape[1]] |= mask.bits
    return Pixels(bits, top, left)
