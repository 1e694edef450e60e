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
from organoseg.core.soft_mask import SoftMask, dilated, mean_of
from organoseg.models.protocol import CappedResultWarning, Segmenter, capacity_of, capacity_option
from organoseg.models.soft import SoftInstances, soft_instances

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
        shape = (pixels.shape[2], pixels.shape[3])
        seen: list[list[Instances]] = []
        for number, turned in enumerate(self._turned(pixels)):
            found = self.segmenter.segment(turned, self._floor(score_threshold))
            self._warn(turned, found)
            seen.append([_back(p, *TURNS[number], shape) for p in found])
        fused = (agree(per_image) for per_image in zip(*seen, strict=True))
        most = slice(self.capacity(shape))
        return [f.select(f.scores >= score_threshold).select(most) for f in fused]

    @torch.no_grad()
    def segment_soft(
        self, pixels: torch.Tensor, score_threshold: float = LOWEST
    ) -> list[SoftInstances]:
        """The same with soft masks: the mean of what the views say of a pixel, weighted by their scores."""
        if self.zooms == (1.0,):
            return soft_instances(self.segmenter, pixels, score_threshold)
        shape = (pixels.shape[2], pixels.shape[3])
        seen: list[list[_SoftView]] = []
        for number, turned in enumerate(self._turned(pixels)):
            found = soft_instances(self.segmenter, turned, self._floor(score_threshold))
            self._warn(turned, [f.instances for f in found])
            seen.append([_soft_view(f, *TURNS[number], shape) for f in found])
        most = self.capacity(shape)
        return [
            _agree_softly(per_image, score_threshold, most) for per_image in zip(*seen, strict=True)
        ]

    def _turned(self, pixels: torch.Tensor) -> Iterator[torch.Tensor]:
        """The views."""
        for (turns, mirrored), zoom in zip(TURNS, self.zooms, strict=False):
            turned = torch.rot90(_enlarged(pixels, zoom), turns, (2, 3))
            yield turned.flip(3) if mirrored else turned

    def _floor(self, score_threshold: float) -> float:
        """A view alone scores an instance up to n times what the views score it together."""
        return max(score_threshold / len(self.zooms), LOWEST)

    def _warn(self, turned: torch.Tensor, found: Sequence[Instances]) -> None:
        most = max(map(len, found))
        if most >= capacity_of(self.segmenter, (turned.shape[2], turned.shape[3])):
            # What the views lost may have been what they agree on: the count of the fused ones does not tell.
            text = (
                f"one of several looks found {most} organoids, as many as the engine returns; "
                f"some may be missing. Raise model.options.{capacity_option(self.segmenter)}."
            )
            warnings.warn(CappedResultWarning(text), stacklevel=3)


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


@dataclass(frozen=True, eq=False)
class _SoftView:
    """What one view says: its instances in the geometry of the image, and its soft masks (by id) before the view's
    enlargement was undone, in an image of ``shape``."""

    instances: Instances
    soft: dict[int, SoftMask]
    shape: tuple[int, int]


def _soft_view(
    found: SoftInstances, turns: int, mirrored: bool, shape: tuple[int, int]
) -> _SoftView:
    seen = found.instances.shape
    upright = seen if turns % 2 == 0 else (seen[1], seen[0])
    soft = {}
    for number, one in zip(found.instances.ids.tolist(), found.soft, strict=True):
        soft[number] = (one.flip(seen, 1) if mirrored else one).rot90(seen, -turns)
    return _SoftView(_back(found.instances, turns, mirrored, shape), soft, upright)


def _agree_softly(views: Sequence[_SoftView], threshold: float, most: int) -> SoftInstances:
    if len(views) == 1:
        fused, members = views[0].instances, [[(0, i)] for i in range(len(views[0].instances))]
    else:
        fused, members = _agreed([view.instances for view in views])
    keep = np.flatnonzero(fused.scores >= threshold)[:most]
    fused, shape = fused.select(keep), fused.shape
    made = []
    for mask, score, index in zip(fused.masks, fused.scores, keep, strict=True):
        box = dilated(mask.box, shape)
        parts, weights = [], []
        for v, i in members[index]:
            view = views[v]
            one = view.soft[int(view.instances.ids[i])]
            parts.append(one.resampled(box, view.shape, shape))
            weights.append(float(view.instances.scores[i]))
        made.append(mean_of(parts, weights, box, float(np.clip(score, 0, 1))))
    return SoftInstances(fused, tuple(made))


def agree(views: Sequence[Instances], iou: float = 0.5) -> Instances:
    """Fuse the instances that several views of one image gave, already in one geometry.

    What the views see at one place votes on one mask; its quality is the mean over *all* views of score x IoU with that
    mask, so what only one of n views sees sinks to 1/n of its score.
    """
    return views[0] if len(views) == 1 else _agreed(views, iou)[0]


def _agreed(
    views: Sequence[Instances], iou: float = 0.5
) -> tuple[Instances, list[list[tuple[int, int]]]]:
    """Fused instances, best first, and the (view, index) that speak for each."""
    masks: list[Mask] = []
    quality: list[float] = []
    classes: list[int] = []
    speakers: list[list[tuple[int, int]]] = []
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
        speakers.append(members)
    fused = Instances.from_masks(
        views[0].shape, masks, scores=np.array(quality, np.float32), classes=classes
    )
    fused = fused.select(np.argsort(-fused.scores, kind="stable")).nms(0.6)
    return fused, [speakers[number - 1] for number in fused.ids.tolist()]


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
