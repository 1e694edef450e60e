"""Rectangles of one crop laid over another, with their organoids.

French et al. 2020, "Semi-supervised semantic segmentation needs strong, varied perturbations", as mutual distillation
uses it (Yuan et al. 2022, arXiv 2208.11499; methods.md, 5): three boxes that together take a quarter to a half of the
crop, and the partner of a crop is its neighbour in the batch. There, class maps are mixed; here, instances: each is cut
along the rectangles' edges and never by another instance, so overlaps stay. A piece that is only a sliver of its
organoid is neither taught nor called background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from organoseg.core import Mask
from organoseg.models.protocol import Target

Bits = NDArray[np.bool_]
#: Boxes a crop, and the share of it that they take together where they do not overlap.
BOXES, PROPORTION = 3, (0.25, 0.5)
#: An organoid of which less than this is left is ignored.
SLIVER = 0.2
#: Boxes begin and end on this grid (px), so that they cut coarse masks exactly as well.
GRID = 4
#: Stream of random numbers of its own.
STREAM = 11


@dataclass(frozen=True)
class Box:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, half-open, px."""

    top: int
    left: int
    bottom: int
    right: int


def draw_boxes(
    rng: np.random.Generator,
    shape: tuple[int, int],
    count: int = BOXES,
    proportion: tuple[float, float] = PROPORTION,
    grid: int = GRID,
) -> tuple[Box, ...]:
    """Boxes of random places and aspect ratios inside a crop.

    Each takes its share of the drawn proportion; by how much of that its height is short of the crop's is uniform on a
    logarithmic scale, as in the published code.
    """
    found = []
    whole = [max(side // grid, 1) for side in shape]
    for _ in range(count):
        share = rng.uniform(*proportion)
        high = share ** rng.uniform()
        sides = [
            min(max(round(part / np.sqrt(count) * cells), 1), cells)
            for part, cells in zip((high, share / high), whole, strict=True)
        ]
        top, left = (
            int(rng.integers(0, cells - side + 1)) for cells, side in zip(whole, sides, strict=True)
        )
        bottom, right = top + sides[0], left + sides[1]
        found.append(
            Box(top * grid, left * grid, min(bottom * grid, shape[0]), min(right * grid, shape[1]))
        )
    return tuple(found)


def canvas_of(boxes: Sequence[Box], shape: tuple[int, int], stride: int = 1) -> Bits:
    """Where the boxes lie: bool (H, W), in cells of ``stride`` px."""
    inside = np.zeros(shape, np.bool_)
    for box in boxes:
        rows = slice(box.top // stride, -(-box.bottom // stride))
        inside[rows, box.left // stride : -(-box.right // stride)] = True
    return inside


def _cut(mask: Mask, allowed: Bits) -> tuple[Mask | None, float]:
    """What is left of a mask, and which share of it."""
    y0, x0, y1, x1 = mask.box
    bits = mask.bits & allowed[y0:y1, x0:x1]
    left = int(np.count_nonzero(bits))
    if left == mask.area:
        return mask, 1.0
    return Mask.from_bits(bits, y0, x0), left / mask.area


def clipped(target: Target, allowed: Bits) -> Target:
    """The target where ``allowed`` (H, W), in its own cells: slivers ignored, what is gone left out."""
    pieces = [_cut(mask, allowed) for mask in target.instances.masks]
    there = np.array([piece is not None for piece, _ in pieces], bool)
    if len(pieces) == 0:
        return target
    slivers = np.array([share < SLIVER for _, share in pieces], bool)
    seen = target.instances.select(there)
    return replace(
        target,
        instances=seen.replace(masks=tuple(piece for piece, _ in pieces if piece is not None)),
        weights=target.weights[there],
        confidence=target.confidence[there],
        ignored=(target.ignored | slivers)[there],
    )


def joined(first: Target, second: Target) -> Target:
    """Both targets as one; they are of one shape and one stride."""
    if first.stride != second.stride or first.background_weight != second.background_weight:
        raise ValueError("targets of two kinds cannot be mixed")  # a programming error
    return replace(
        first,
        instances=first.instances.union(second.instances),
        weights=np.concatenate([first.weights, second.weights]),
        confidence=np.concatenate([first.confidence, second.confidence]),
        ignored=np.concatenate([first.ignored, second.ignored]),
        pseudo=first.pseudo or second.pseudo,
    )


def mix_pixels(pixels: torch.Tensor, boxes: Sequence[Sequence[Box]]) -> torch.Tensor:
    """Crops (B, 1, S, S) whose boxes show what the crop before them in the batch shows there.

    The first one's partner is the last: the partners are the batch rolled by one.
    """
    mixed = pixels.clone()
    for k, some in enumerate(boxes):
        for box in some:
            part = (slice(box.top, box.bottom), slice(box.left, box.right))
            mixed[k, :, *part] = pixels[k - 1, :, *part]
    return mixed


def mix_targets(targets: Sequence[Target], boxes: Sequence[Sequence[Box]]) -> list[Target]:
    """Targets of the crops that `mix_pixels` makes: each crop's own outside the boxes, its partner's inside."""
    mixed = []
    for k, some in enumerate(boxes):
        own, partner = targets[k], targets[k - 1]
        inside = canvas_of(some, own.instances.shape, own.stride)
        mixed.append(joined(clipped(own, ~inside), clipped(partner, inside)))
    return mixed


def boxes_of_step(
    seed: int, step: int, rank: int, shape: tuple[int, int], batch: int, chance: float = 1.0
) -> list[tuple[Box, ...]]:
    """The boxes of every crop of a step, a function of these numbers; none where a crop has no partner.

    ``rank``: of the process, whose crops find their partners among its own. ``chance``: that a crop has boxes.
    """
    if batch < 2 or chance <= 0:
        return [()] * batch
    rng = np.random.default_rng((seed, STREAM, step, rank))
    found = [(rng.random() < chance, draw_boxes(rng, shape)) for _ in range(batch)]
    return [boxes if mixed else () for mixed, boxes in found]
