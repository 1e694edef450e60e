"""Weak and strong views of an image: one geometry, two photometries.

The strong view is the weak view with more photometric change (methods: Berrada et al. 2023, section 3.2), so masks
predicted on one need no warping to teach the other. Hue and greyscale jitter do nothing to brightfield; its changes are
illumination, focus, noise and dirt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Geometry:
    """How crops are taken for training.

    Parameters
    ----------
    crop
        Side of the square the network sees, px.
    scale
        Range of the zoom applied to the image.
    smallest_area
        Organoids with fewer visible px after cropping are not taught.
    """

    crop: int = 256
    scale: tuple[float, float] = (0.75, 1.5)
    smallest_area: int = 16


@dataclass(frozen=True)
class Photometry:
    """Strength of the photometric change. Pixels are normalised: 0 is its middle grey, -1 to 1 its usual range."""

    brightness: float = 0.1
    contrast: float = 0.2
    gamma: float = 0.2
    blur: tuple[float, float] = (0.0, 0.0)
    blur_chance: float = 0.0
    noise: float = 0.0
    gradient: float = 0.0
    cutouts: int = 0
    cutout_side: float = 0.12

    def scaled(self, strength: float) -> Photometry:
        """The same kind of change, ``strength`` times as strong; 0 leaves the pixels as they are."""
        return replace(
            self,
            brightness=self.brightness * strength,
            contrast=self.contrast * strength,
            gamma=self.gamma * strength,
            blur=(self.blur[0] * strength, self.blur[1] * strength),
            blur_chance=min(self.blur_chance * strength, 1.0),
            noise=self.noise * strength,
            gradient=self.gradient * strength,
            cutouts=round(self.cutouts * strength),
        )


WEAK = Photometry()
STRONG = Photometry(
    brightness=0.25,
    contrast=0.4,
    gamma=0.4,
    blur=(0.3, 2.0),
    blur_chance=0.5,
    noise=0.12,
    gradient=0.4,
    cutouts=2,
)


def _resize(pixels: Pixels, side: int) -> Pixels:
    import torch
    from torch.nn import functional as F

    if pixels.shape == (side, side):
        return pixels
    big = torch.from_numpy(np.ascontiguousarray(pixels))[None, None]
    shrinks = side < pixels.shape[0]
    out = F.interpolate(
        big, size=(side, side), mode="bilinear", align_corners=False, antialias=shrinks
    )
    return out[0, 0].numpy()


def take_crop(
    rng: np.random.Generator, pixels: Pixels, instances: Instances | None, geometry: Geometry
) -> tuple[Pixels, Instances]:
    """A random zoomed, flipped and turned square of an image, with what is visible of its organoids.

    Parameters
    ----------
    pixels
        float32 (H, W), normalised.
    """
    height, width = pixels.shape
    side = geometry.crop
    zoom = float(np.exp(rng.uniform(*np.log(geometry.scale))))
    window = min(max(round(side / zoom), 8), height, width)
    y = int(rng.integers(0, height - window + 1))
    x = int(rng.integers(0, width - window + 1))
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    if instances is None:
        instances = Instances.empty((height, width))
    seen = instances.crop(y, x, window, window, min_area=1).scale((side, side)).rot90(turns)
    part = np.rot90(_resize(pixels[y : y + window, x : x + window], side), turns)
    if mirrored:
        part, seen = part[:, ::-1], seen.flip(1)
    seen = seen.select(seen.areas >= geometry.smallest_area)
    return np.ascontiguousarray(part), seen


def _gradient(rng: np.random.Generator, shape: tuple[int, int], strength: float) -> Pixels:
    angle = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    slope = np.float32(rng.uniform(0, strength))
    return slope * (np.float32(np.cos(angle)) * y + np.float32(np.sin(angle)) * x)


def _gamma(pixels: Pixels, power: float) -> Pixels:
    low, high = float(pixels.min()), float(pixels.max())
    if high - low < 1e-6:
        return pixels
    unit = (pixels - low) / (high - low)
    return np.power(unit, np.float32(power)) * np.float32(high - low) + np.float32(low)


def change_light(rng: np.random.Generator, pixels: Pixels, photometry: Photometry) -> Pixels:
    """A photometric change of float32 (H, W) pixels; the geometry is untouched."""
    p = photometry
    out = _gamma(pixels, float(np.exp(rng.uniform(-p.gamma, p.gamma))))
    out = out * np.float32(np.exp(rng.uniform(-p.contrast, p.contrast)))
    out = out + np.float32(rng.uniform(-p.brightness, p.brightness))
    if p.gradient:
        out = out + _gradient(rng, (out.shape[0], out.shape[1]), p.gradient)
    if p.blur_chance and rng.random() < p.blur_chance:
        from scipy.ndimage import gaussian_filter

        out = gaussian_filter(out, rng.uniform(*p.blur), mode="reflect", truncate=3.0)
    if p.noise:
        out = out + rng.standard_normal(out.shape, np.float32) * np.float32(rng.uniform(0, p.noise))
    for _ in range(p.cutouts):
        out = _cut_out(rng, out, p.cutout_side)
    return out.astype(np.float32, copy=False)


def _cut_out(rng: np.random.Generator, pixels: Pixels, share: float) -> Pixels:
    height, width = pixels.shape
    h, w = (max(int(rng.uniform(0.03, share) * side), 1) for side in (height, width))
    y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    out = pixels.copy()
    out[y : y + h, x : x + w] = np.float32(rng.uniform(-0.5, 0.5))
    return out
