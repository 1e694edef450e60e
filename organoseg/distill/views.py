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
    jitter
        Large-scale jitter (Ghiasi et al. 2021), the paper's COCO geometry: the whole image, mirrored or not, is fitted
        into a square of ``scale`` (uniform) times ``crop``; a larger one is cropped, a smaller one is padded with
        middle grey. Nothing is turned.
    """

    crop: int = 256
    scale: tuple[float, float] = (0.75, 1.5)
    smallest_area: int = 16
    jitter: bool = False


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


@dataclass(frozen=True)
class ColourJitter:
    """The strong view of Berrada et al. 2023 (methods.md, 1.5) on grey pixels, to which its saturation, hue and
    greyscale do nothing.

    With ``chance`` brightness and contrast change by factors of 1 ± each, in random order, on pixels cut to their usual
    range as 8-bit pixels are; with ``blur_chance`` a Gaussian blur follows.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    chance: float = 0.8
    blur: tuple[float, float] = (0.1, 2.0)
    blur_chance: float = 0.5

    def scaled(self, strength: float) -> ColourJitter:
        """The same kind of change, ``strength`` times as strong."""
        return replace(
            self,
            brightness=min(self.brightness * strength, 1.0),
            contrast=min(self.contrast * strength, 1.0),
            blur=(self.blur[0] * strength, self.blur[1] * strength),
        )


@dataclass(frozen=True)
class SsdJitter:
    """The weak light of the paper's Cityscapes recipe (detectron2's SSD colours): on grey pixels an offset and a factor
    about the black level, each with a chance of one half."""

    brightness: float = 32 / 255
    contrast: tuple[float, float] = (0.5, 1.5)


@dataclass(frozen=True)
class AsItIs:
    """No photometric change, as in the paper's COCO recipe."""


#: What `change_light` can do to pixels.
Light = Photometry | ColourJitter | SsdJitter | AsItIs

WEAK = Photometry()
PAPER_STRONG = ColourJitter()
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


def _resized(pixels: Pixels, shape: tuple[int, int]) -> Pixels:
    import torch
    from torch.nn import functional as F

    if pixels.shape == shape:
        return pixels
    big = torch.from_numpy(np.ascontiguousarray(pixels))[None, None]
    shrinks = shape[0] < pixels.shape[0]
    out = F.interpolate(big, size=shape, mode="bilinear", align_corners=False, antialias=shrinks)
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
    if geometry.jitter:
        return _jittered(rng, pixels, instances, geometry)
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
    part = np.rot90(_resized(pixels[y : y + window, x : x + window], (side, side)), turns)
    if mirrored:
        part, seen = part[:, ::-1], seen.flip(1)
    seen = seen.select(seen.areas >= geometry.smallest_area)
    return np.ascontiguousarray(part), seen


def _jittered(
    rng: np.random.Generator, pixels: Pixels, instances: Instances | None, geometry: Geometry
) -> tuple[Pixels, Instances]:
    """A square of large-scale jitter; only the part of the image that is seen is resized."""
    (height, width), side = pixels.shape, geometry.crop
    factor = float(rng.uniform(*geometry.scale)) * side / max(height, width)
    mirrored = bool(rng.integers(2))
    large = max(round(height * factor), 1), max(round(width * factor), 1)
    y, x = (int(rng.integers(0, max(full - side, 0) + 1)) for full in large)
    # In the image's own px: the window that is seen, and what becomes of it.
    y0, x0 = int(y / factor), int(x / factor)
    h, w = (
        min(int(np.ceil(min(full, side) / factor)), whole - start)
        for full, whole, start in zip(large, (height, width), (y0, x0), strict=True)
    )
    shape = min(large[0], side), min(large[1], side)
    part = _resized(pixels[y0 : y0 + h, x0 : x0 + w], shape)
    if instances is None:
        instances = Instances.empty((height, width))
    seen = instances.crop(y0, x0, h, w, min_area=1).scale(shape)
    if mirrored:
        part, seen = part[:, ::-1], seen.flip(1)
    out = np.zeros((side, side), np.float32)
    out[: shape[0], : shape[1]] = part
    seen = seen.crop(0, 0, side, side)
    return out, seen.select(seen.areas >= geometry.smallest_area)


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


def change_light(rng: np.random.Generator, pixels: Pixels, light: Light) -> Pixels:
    """A photometric change of float32 (H, W) pixels; the geometry is untouched."""
    if isinstance(light, AsItIs):
        return pixels
    if isinstance(light, ColourJitter):
        return _colour_jitter(rng, pixels, light)
    if isinstance(light, SsdJitter):
        return _ssd_jitter(rng, pixels, light)
    p = light
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


def _unit(pixels: Pixels) -> Pixels:
    """Normalised pixels as 8-bit ones are: 0 to 1, and what is brighter or darker cut off."""
    return np.clip((pixels + np.float32(1)) / np.float32(2), 0, 1, dtype=np.float32)


def _colour_jitter(rng: np.random.Generator, pixels: Pixels, jitter: ColourJitter) -> Pixels:
    out = _unit(pixels)
    if rng.random() < jitter.chance:
        bright = np.float32(rng.uniform(1 - jitter.brightness, 1 + jitter.brightness))
        contrast = np.float32(rng.uniform(1 - jitter.contrast, 1 + jitter.contrast))
        for part in rng.permutation(2).tolist():
            if part:
                out = np.clip(out * bright, 0, 1)
            else:
                middle = np.float32(out.mean())
                out = np.clip(middle + (out - middle) * contrast, 0, 1)
    if rng.random() < jitter.blur_chance:
        from scipy.ndimage import gaussian_filter

        out = gaussian_filter(out, rng.uniform(*jitter.blur), mode="reflect", truncate=3.0)
    return (out * np.float32(2) - np.float32(1)).astype(np.float32, copy=False)


def _ssd_jitter(rng: np.random.Generator, pixels: Pixels, jitter: SsdJitter) -> Pixels:
    out = _unit(pixels)
    offset = np.float32(rng.uniform(-jitter.brightness, jitter.brightness))
    factor = np.float32(rng.uniform(*jitter.contrast))
    first, second = rng.random(2) < 0.5
    if first:
        out = np.clip(out + offset, 0, 1)
    if second:
        out = np.clip(out * factor, 0, 1)
    return (out * np.float32(2) - np.float32(1)).astype(np.float32, copy=False)
