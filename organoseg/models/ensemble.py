"""One engine that looks at an image several times: turned, mirrored and enlarged views that have to agree.

What several views see at one place is right far more often than what one view scores highly (docs/experiments.md has
the figures). Pseudo-labels come from here, and so does `predict --thorough`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from organoseg.core import Instances, Mask, vote
from organoseg.models.protocol import CappedResultWarning, Segmenter, capacity_of, capacity_option

#: (quarter turns, mirrored) of the views; the first is the image as it is.
TURNS = ((0, False), (2, True), (1, False), (3, True))
#: How much each view is enlarged where nothing else is said.
ZOOMS = (0.9, 1.15, 1.4, 1.7)
#: An organoid that a view scores lower is not asked about.
LOWEST = 0.05


@dataclass(frozen=True)
class Thorough:
    """A segmenter that asks another one about several views of each image, and fuses the answers.

    Parameters
    ----------
    zooms
        Enlargement of each view, 1 to 4 of them.
    """

    segmenter: Segmenter
    zooms: tuple[float, ...] = ZOOMS

    @property
    def max_instances(self) -> int:
        """Most instances returned for an image."""
        return self.segmenter.max_instances

    def capacity(self, shape: tuple[int, int]) -> int:
        """The same, of this shape."""
        return capacity_of(self.segmenter, shape)

    @property
    def capacity_option(self) -> str:
        """The option that this number comes from."""
        return capacity_option(self.segmenter)

    @torch.no_grad()
    def segment(self, pixels: torch.Tensor, score_threshold: float = LOWEST) -> list[Instances]:
        """Instances of each image (B, 1, H, W), best first; a score is the mean of what the views agree on."""
        if self.zooms == (1.0,):
            return self.segmenter.segment(pixels, score_threshold)
        # A view alone scores an instance up to n times what the views score it together.
        floor = max(score_threshold / len(self.zooms), LOWEST)
        shape = (pixels.shape[2], pixels.shape[3])
        seen: list[list[Instances]] = []
        for (turns, mirrored), zoom in zip(TURNS, self.zooms, strict=False):
            turned = torch.rot90(_enlarged(pixels, zoom), turns, (2, 3))
            if mirrored:
                turned = turned.flip(3)
            found = self.segmenter.segment(turned, floor)
            if max(map(len, found)) >= capacity_of(
                self.segmenter, (turned.shape[2], turned.shape[3])
            ):
                # What the views lost may have been what they agree on: the count of the fused ones does not tell.
                text = (
                    f"one of several looks found {max(map(len, found))} organoids, as many as the engine returns; "
                    f"some may be missing. Raise model.options.{capacity_option(self.segmenter)}."
                )
                warnings.warn(CappedResultWarning(text), stacklevel=2)
            seen.append([_back(p, turns, mirrored, shape) for p in found])
        fused = (agree(per_image) for per_image in zip(*seen, strict=True))
        most = slice(self.capacity(shape))
        return [f.select(f.scores >= score_threshold).select(most) for f in fused]


def _enlarged(pixels: torch.Tensor, zoom: float) -> torch.Tensor:
    if zoom == 1:
        return pixels
    size = [max(round(side * zoom), 1) for side in pixels.shape[2:]]
    return F.interpolate(
        pixels, size=size, mode="bilinear", align_corners=False, antialias=zoom < 1
    )


def _back(instances: Instances, turns: int, mirrored: bool, shape: tuple[int, int]) -> Instances:
    upright = (instances.flip(1) if mirrored else instances).rot90(-turns)
    return upright if upright.shape == shape else upright.scale(shape)


def agree(views: Sequence[Instances], iou: float = 0.5) -> Instances:
    """Fuse the instances that several views of one image gave, already in one geometry.

    What the views see at one place votes on one mask; its quality is the mean over *all* views of score x IoU with that
    mask, so what only one of n views sees sinks to 1/n of its score.
    """
    if len(views) == 1:
        return views[0]
    masks: list[Mask] = []
    quality: list[float] = []
    classes: list[int] = []
    for members in _together(views, iou):
        drawn = Instances.from_masks(views[0].shape, [views[v].masks[i] for v, i in members])
        scores = np.array([views[v].scores[i] for v, i in members], np.float64)
        mask = vote(drawn.masks, scores.tolist())
        if mask is None:
            continue
        agreement = Instances.from_masks(drawn.shape, [mask]).iou(drawn)[0]
        masks.append(mask)
        quality.append(float((scores * agreement).sum()) / len(views))
        first, index = members[0]
        classes.append(int(views[first].classes[index]))
    fused = Instances.from_masks(
        views[0].shape, masks, scores=np.array(quality, np.float32), classes=classes
    )
    return fused.select(np.argsort(-fused.scores, kind="stable")).nms(0.6)


def _together(views: Sequence[Instances], iou: float) -> Iterator[list[tuple[int, int]]]:
    """Groups of (view, index) that show one organoid, the surest member first; each instance in one group."""
    free = [np.ones(len(view), bool) for view in views]
    pairs = [(a, b) for a in range(len(views)) for b in range(len(views)) if a != b]
    overlap = {(a, b): views[a].iou(views[b]) for a, b in pairs}
    order = [(-float(s), v, i) for v, view in enumerate(views) for i, s in enumerate(view.scores)]
    for _, a, i in sorted(order):
        if not free[a][i]:
            continue
        members = [(a, i)]
        for b in range(len(views)):
            if b != a and free[b].any():
                row = np.where(free[b], overlap[a, b][i], -1.0)
                if row.max() >= iou:
                    members.append((b, int(row.argmax())))
        for b, j in members:
            free[b][j] = False
        yield members
