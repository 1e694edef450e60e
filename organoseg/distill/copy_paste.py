"""Labelled organoids laid over archive crops, as brightfield lays organoids over each other.

Ghiasi et al. 2021, "Simple Copy-Paste", overwrites what is underneath. In brightfield, light passes through
both organoids, so here the pasted one changes the light of what lies below it and neither mask is cut: overlaps
with exactly known masks, where labels have few of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances, Mask, normalised
from organoseg.dataset import LabelledImage

Pixels = NDArray[np.float32]
#: Source of a pasted organoid.
PASTED = "pasted"
#: Surroundings (px) that a donor brings along, so that its halo fades out.
MARGIN = 6
EDGE = 2.0  # px over which it fades
#: Chance that a donor is laid over an organoid that is there already, and the gap of their centres in mean radii.
OVERLAPPING, GAP = 0.7, (0.8, 1.7)


@dataclass(frozen=True, eq=False)
class Donor:
    """An organoid that can be pasted.

    ``bits`` bool (h, w) is its mask; ``change`` float32 (h, w) what it adds to the light behind it, faded at the edge,
    in normalised pixel values.
    """

    bits: NDArray[np.bool_]
    change: Pixels

    @property
    def radius(self) -> float:
        """Radius of a disc of its area, px."""
        return float(np.sqrt(self.bits.sum() / np.pi))


def _donor(pixels: Pixels, mask: Mask) -> Donor | None:
    from scipy.ndimage import binary_dilation, gaussian_filter

    y0, x0, y1, x1 = mask.box
    if min(y0, x0) < MARGIN or y1 > pixels.shape[0] - MARGIN or x1 > pixels.shape[1] - MARGIN:
        return None  # cut by the border: half an organoid is none
    bits = np.pad(mask.bits, MARGIN)
    part = pixels[y0 - MARGIN : y1 + MARGIN, x0 - MARGIN : x1 + MARGIN]
    around = ~binary_dilation(bits, iterations=2)
    fade = gaussian_filter(binary_dilation(bits, iterations=2).astype(np.float32), EDGE)
    return Donor(bits, ((part - np.median(part[around])) * fade).astype(np.float32))


def donors_of(items: Iterable[LabelledImage]) -> tuple[Donor, ...]:
    """Every labelled organoid that lies whole and alone in its image."""
    found = []
    for item in items:
        pixels = normalised(item.image.plane())
        alone = item.instances.overlap_fraction() < 0.02
        for mask, free in zip(item.instances.masks, alone, strict=True):
            donor = _donor(pixels, mask) if free else None
            if donor is not None:
                found.append(donor)
    return tuple(found)


def _place(rng: np.random.Generator, seen: Instances, radius: float) -> tuple[float, float]:
    """Where the pasted organoid's centre goes: beside or over another one, or anywhere."""
    height, width = seen.shape
    if len(seen) and rng.random() < OVERLAPPING:
        mask = seen.masks[int(rng.integers(len(seen)))]
        y, x = mask.centroid
        gap = rng.uniform(*GAP) * (radius + np.sqrt(mask.area / np.pi)) / 2
        angle = rng.uniform(0, 2 * np.pi)
        return y + gap * np.sin(angle), x + gap * np.cos(angle)
    return rng.uniform(0, height), rng.uniform(0, width)


def paste(
    rng: np.random.Generator, pixels: Pixels, seen: Instances, donors: tuple[Donor, ...]
) -> tuple[Pixels, Instances]:
    """Lay one random donor over a crop; nothing is changed where it would be cut to less than half.

    Parameters
    ----------
    pixels
        float32 (H, W), normalised.
    seen
        The crop's organoids; the pasted one joins them with score 1.
    """
    donor = donors[int(rng.integers(len(donors)))]
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    bits, change = np.rot90(donor.bits, turns), np.rot90(donor.change, turns)
    if mirrored:
        bits, change = bits[:, ::-1], change[:, ::-1]
    y, x = _place(rng, seen, donor.radius)
    top, left = round(y - bits.shape[0] / 2), round(x - bits.shape[1] / 2)
    y0, x0 = max(top, 0), max(left, 0)
    y1 = min(top + bits.shape[0], pixels.shape[0])
    x1 = min(left + bits.shape[1], pixels.shape[1])
    if y1 <= y0 or x1 <= x0:
        return pixels, seen
    window = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    mask = Mask.from_bits(bits[window], y0, x0)
    if mask is None or mask.area < donor.bits.sum() / 2:
        return pixels, seen
    out = pixels.copy()
    out[y0:y1, x0:x1] += change[window]
    return out, seen.union(Instances.from_masks(seen.shape, [mask], sources=[PASTED]))
