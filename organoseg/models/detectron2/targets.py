"""From :class:`~organoseg.models.protocol.Target` to what detectron2's heads are taught with, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

from organoseg.core import DataError
from organoseg.models.protocol import Target

Scale = tuple[float, float]


@dataclass(frozen=True, eq=False)
class ImageTarget:
    """The organoids of one image on the grid the network sees; those that are ignored stand apart.

    Attributes
    ----------
    boxes
        float32 (N, 4): x0, y0, x1, y1 of the organoids that teach.
    labels, confidence, weights
        int64, float32, float32 (N,): class channel, certainty, and how much the mask counts.
    first
        Index of the first of them in the stack of masks of the batch.
    ignored
        float32 (M, 4): boxes of what is neither organoid nor background.
    covered
        float32 (h + 1, w + 1) or None: running sums of the cells that ignored masks cover.
    background
        Weight of what nobody claims.
    places
        float32 (N,): how much the boxes teach positions. A person's counts 1, a teacher's nothing, or its certainty.
    """

    boxes: Tensor
    labels: Tensor
    confidence: Tensor
    weights: Tensor
    first: int
    ignored: Tensor
    covered: Tensor | None
    background: float
    places: Tensor


@dataclass(frozen=True, eq=False)
class BatchTargets:
    """Targets of a batch.

    Attributes
    ----------
    images
        One for each image.
    masks
        uint8 (K, h, w): the masks of all organoids that teach.
    scale
        Cells of ``masks`` a pixel of the network's grid, down and across.
    """

    images: list[ImageTarget]
    masks: Tensor
    scale: Scale

    def crop(self, boxes: Tensor, which: Tensor, side: int) -> Tensor:
        """bool (R, side, side): mask ``which[r]`` inside box r, as detectron2 crops its bit masks.

        Source of the rule (mean over the cell, from a half on): ``BitMasks.crop_and_resize``.
        """
        if not len(boxes):
            return self.masks.new_zeros((0, side, side), dtype=torch.bool)
        used, row = which.unique(return_inverse=True)
        rois = torch.cat([row[:, None].to(boxes.dtype), self.on_masks(boxes)], 1)
        planes = self.masks[used][:, None].to(boxes.dtype)
        return roi_align(planes, rois, (side, side), 1.0, 0, aligned=True)[:, 0] >= 0.5

    def on_masks(self, boxes: Tensor) -> Tensor:
        """Boxes of the network's grid on the grid of the masks."""
        down, across = self.scale
        return boxes * boxes.new_tensor([across, down, across, down])


def batch_targets(
    targets: Sequence[Target],
    classes: Sequence[int],
    shape: tuple[int, int],
    seen: tuple[int, int],
    device: torch.device,
    pseudo_boxes: bool,
) -> BatchTargets:
    """Targets of a batch of images of ``shape``, which the network sees at the size ``seen``.

    Raises
    ------
    DataError
        A class that the engine does not have, or masks of another size than the image.
    """
    stride = targets[0].stride
    grid = (-(-shape[0] // stride), -(-shape[1] // stride))
    scale = (shape[0] / (seen[0] * stride), shape[1] / (seen[1] * stride))
    images, planes, first = [], [], 0
    for target in targets:
        _check(target, classes, grid, stride)
        teaching = np.flatnonzero(~target.ignored)
        planes.append(_planes(target, teaching))
        images.append(_image(target, teaching, classes, first, grid, scale, device, pseudo_boxes))
        first += len(teaching)
    masks = torch.from_numpy(np.concatenate(planes) if first else np.zeros((0, *grid), np.uint8))
    return BatchTargets(images, masks.to(device, non_blocking=True), scale)


def _check(target: Target, classes: Sequence[int], grid: tuple[int, int], stride: int) -> None:
    strange = sorted(set(target.instances.classes.tolist()) - set(classes))
    if strange:
        raise DataError(
            f"organoids of class {strange[0]}, but the engine knows {', '.join(map(str, classes))}",
            remedy="Give labels whose categories the model was built for.",
        )
    if target.stride != stride or target.instances.shape != grid:
        raise DataError(
            f"masks of {target.instances.shape} with stride {target.stride}; "
            f"the image needs {grid} with stride {stride}"
        )


def _planes(target: Target, which: np.ndarray) -> np.ndarray:
    planes = np.zeros((len(which), *target.instances.shape), np.uint8)
    for plane, k in zip(planes, which.tolist(), strict=True):
        mask = target.instances.masks[k]
        y0, x0, y1, x1 = mask.box
        plane[y0:y1, x0:x1] = mask.bits
    return planes


def _image(
    target: Target,
    teaching: np.ndarray,
    classes: Sequence[int],
    first: int,
    grid: tuple[int, int],
    scale: Scale,
    device: torch.device,
    pseudo_boxes: bool,
) -> ImageTarget:
    channel = {c: k for k, c in enumerate(classes)}
    ignored = np.flatnonzero(target.ignored)
    labels = [channel[c] for c in target.instances.classes[teaching].tolist()]
    boxes = target.instances.boxes.astype(np.float32)[:, [1, 0, 3, 2]]
    boxes /= np.array([scale[1], scale[0]] * 2, np.float32)

    def send(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)

    return ImageTarget(
        boxes=send(boxes[teaching]),
        labels=send(np.array(labels, np.int64)),
        confidence=send(target.confidence[teaching]),
        weights=send(target.weights[teaching]),
        first=first,
        ignored=send(boxes[ignored]),
        covered=send(_covered(target, ignored, grid)) if len(ignored) else None,
        background=target.background_weight,
        places=send(_places(target, teaching, pseudo_boxes)),
    )


def _places(target: Target, teaching: np.ndarray, pseudo_boxes: bool) -> np.ndarray:
    if not target.pseudo:
        return np.ones(len(teaching), np.float32)
    return target.confidence[teaching] * np.float32(pseudo_boxes)


def _covered(target: Target, ignored: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    union = np.zeros(grid, bool)
    for k in ignored.tolist():
        y0, x0, y1, x1 = target.instances.masks[k].box
        union[y0:y1, x0:x1] |= target.instances.masks[k].bits
    sums = np.zeros((grid[0] + 1, grid[1] + 1), np.float32)
    sums[1:, 1:] = union.cumsum(0, dtype=np.int64).cumsum(1)
    return sums
