"""The organoids of a batch on the device, each in its own box, and what they are at any point of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoseg.core import DataError
from organoseg.models.protocol import Target

#: A piece (px) that a crop has left of an organoid and that is smaller says nothing of its shape: it is ignored.
SLIVER = 8
_FIELDS = ("offset", "y", "x", "height", "width", "rows", "columns", "label")


@dataclass(frozen=True, eq=False)
class PackedTargets:
    """N organoids of B images.

    Parameters
    ----------
    images
        On the host, int64 (N,), ascending: whose they are.
    ignored
        On the host, bool (N,).
    bits
        uint8 (total,): the masks' boxes one after the other, each with a frame of one empty cell around it.
    place
        int64 (8, N): begin in ``bits``, first row and column in the image, height and width (cells, without the
        frame), rows and columns of the image's grid, class channel.
    weight, confidence
        float32 (N,).
    cell
        float32 (N,): px a cell.
    background
        float32 (B,): weight of "no object" in each image.
    shape
        Height and width of the images, px.
    """

    images: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    bits: Tensor
    place: Tensor
    weight: Tensor
    confidence: Tensor
    cell: Tensor
    background: Tensor
    shape: tuple[int, int]

    def of(self, image: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of an image's organoids that are taught, and of those that are ignored."""
        low, high = np.searchsorted(self.images, (image, image + 1))
        ours = np.arange(low, high)
        return ours[~self.ignored[ours]], ours[self.ignored[ours]]

    @property
    def labels(self) -> Tensor:
        """Class channel of each organoid, int64 (N,)."""
        return self.place[_FIELDS.index("label")]

    def sample(self, index: Tensor, points: Tensor) -> Tensor:
        """What the masks are at points, float32 (M, P) in 0 to 1, bilinear, 0 outside the image.

        ``index`` int64 (M,); ``points`` (M or 1, P, 2): x and y from 0 to 1 across the image. The same as
        ``grid_sample`` on the whole mask, without ever having one.
        """
        offset, top, left, height, width = (self.place[i, index][:, None] for i in range(5))
        cell = self.cell[index][:, None]
        x = points[..., 0] * (self.shape[1] / cell) - 0.5
        y = points[..., 1] * (self.shape[0] / cell) - 0.5
        x0, y0 = x.floor(), y.floor()
        dx, dy = x - x0, y - y0
        # Cells of the framed box; whatever lies outside it is a cell of the frame, which is empty.
        columns = [(x0.long() + (k + 1) - left).clamp(min=0).minimum(width + 1) for k in (0, 1)]
        rows = [(y0.long() + (k + 1) - top).clamp(min=0).minimum(height + 1) for k in (0, 1)]
        lines = [offset + row * (width + 2) for row in rows]
        upper = torch.lerp(
            self.bits[lines[0] + columns[0]].float(), self.bits[lines[0] + columns[1]].float(), dx
        )
        lower = torch.lerp(
            self.bits[lines[1] + columns[0]].float(), self.bits[lines[1] + columns[1]].float(), dx
        )
        return torch.lerp(upper, lower, dy)


def _silent(target: Target) -> NDArray[np.bool_]:
    """Organoids that are ignored, slivers among them, (N,)."""
    sliver = -(-SLIVER // target.stride**2)
    return target.ignored | (target.instances.areas < sliver)


def divisors(targets: Sequence[Target], queries: int, none: float) -> tuple[float, float]:
    """What a batch's mask terms and its class term are divided by.

    The organoids that are taught; and the weights of all queries, ``none`` where there is no organoid. Those that are
    let off count here as if they were not, so that both numbers follow from the targets alone.
    """
    taught, weight = 0, 0.0
    for target in targets:
        confidence = target.confidence[~_silent(target)].astype(np.float64)
        n = len(confidence)
        taught += n
        matched = min(n, queries)
        sure = float(confidence.mean()) if n else 0.0
        weight += matched * (sure + (1 - sure) * none)
        weight += (queries - matched) * none * target.background_weight
    return float(taught), weight


def _check(target: Target, image: int, shape: tuple[int, int], known: dict[int, int]) -> None:
    expected = tuple(-(-side // target.stride) for side in shape)
    if target.instances.shape != expected:
        raise DataError(
            f"the masks of image {image + 1} of a batch are {target.instances.shape[0]} x "
            f"{target.instances.shape[1]}, its pixels need {expected[0]} x {expected[1]}",
            remedy="Crop images and masks to one size before they become a batch.",
        )
    strange = sorted(set(target.instances.classes.tolist()) - known.keys())
    if strange:
        raise DataError(
            f"class {strange[0]} of image {image + 1} of a batch is none of the engine's ({sorted(known)})",
            remedy="Train with the classes of your annotations.",
        )


def pack_targets(
    targets: Sequence[Target],
    shape: tuple[int, int],
    classes: Sequence[int],
    device: torch.device,
) -> PackedTargets:
    """The targets of a batch of images of one ``shape``, sent to the device in four pieces.

    Raises
    ------
    DataError
        Masks of another size than their image, or of a class that the engine does not know.
    """
    channel = {c: i for i, c in enumerate(classes)}
    images: list[int] = []
    ignored: list[bool] = []
    boxes: list[NDArray[np.uint8]] = []
    places: list[tuple[int, ...]] = []
    numbers: list[tuple[float, float, float]] = []
    begin = 0
    for image, target in enumerate(targets):
        _check(target, image, shape, channel)
        silent = _silent(target)
        for i, mask in enumerate(target.instances.masks):
            framed = np.pad(mask.bits.view(np.uint8), 1)
            label = channel[int(target.instances.classes[i])]
            images.append(image)
            ignored.append(bool(silent[i]))
            boxes.append(framed.ravel())
            places.append((begin, mask.y, mask.x, *mask.bits.shape, *target.instances.shape, label))
            numbers.append(
                (float(target.weights[i]), float(target.confidence[i]), float(target.stride))
            )
            begin += framed.size
    bits = torch.from_numpy(np.concatenate(boxes) if boxes else np.zeros(1, np.uint8))
    place = torch.from_numpy(np.array(places, np.int64).reshape(-1, len(_FIELDS)).T.copy())
    number = torch.from_numpy(np.array(numbers, np.float32).reshape(-1, 3).T.copy())
    background = torch.tensor([t.background_weight for t in targets], dtype=torch.float32)
    number = number.to(device, non_blocking=True)
    return PackedTargets(
        images=np.array(images, np.int64),
        ignored=np.array(ignored, bool),
        bits=bits.to(device, non_blocking=True),
        place=place.to(device, non_blocking=True),
        weight=number[0],
        confidence=number[1],
        cell=number[2],
        background=background.to(device, non_blocking=True),
        shape=shape,
    )
