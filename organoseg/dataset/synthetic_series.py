"""Synthetic time series with known identities: organoids that grow, drift, overlap, appear and vanish.

An organoid's id is its identity: the same number in every frame where it is seen. Everything follows from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Image, Instances, Mask, UsageError
from organoseg.dataset import optics
from organoseg.dataset.labelled import LabelledImage
from organoseg.dataset.shapes import Kind, Shape, draw_shape

_KINDS: tuple[Kind, ...] = ("sphere", "cyst", "bud")
_TRIES = 60


@dataclass(frozen=True)
class SeriesSpec:
    """What a series is like. Lengths are pixels, rates are per frame; pairs are (lowest, highest).

    ``count``: organoids at the start; ``overlap``: the chance that one is put onto another; ``growth``: of the
    radius, as a share; ``motion``: spread of an organoid's own steps; ``drift``: spread of the steps of the whole
    field, as of a stage that does not come back to its place; ``appear`` and ``vanish``: chance an organoid has,
    each frame, to come (from a hidden start) or to go for good.
    """

    size: int = 320
    frames: int = 12
    count: tuple[int, int] = (14, 22)
    radius: tuple[float, float] = (6.0, 22.0)
    growth: tuple[float, float] = (0.0, 0.06)
    motion: float = 1.5
    drift: float = 2.0
    overlap: float = 0.25
    appear: float = 0.03
    vanish: float = 0.015
    min_area: int = 30

    def __post_init__(self) -> None:
        fine = {
            "size (at least 32)": self.size >= 32,
            "frames (1 or more)": self.frames >= 1,
            "count (0 <= lowest <= highest)": 0 <= self.count[0] <= self.count[1],
            "radius (2 <= lowest <= highest)": 2 <= self.radius[0] <= self.radius[1],
            "growth (lowest <= highest)": self.growth[0] <= self.growth[1],
            "motion, drift (0 or more)": min(self.motion, self.drift) >= 0,
            "overlap, appear, vanish (0 to 1)": all(
                0 <= chance <= 1 for chance in (self.overlap, self.appear, self.vanish)
            ),
        }
        wrong = [name for name, holds in fine.items() if not holds]
        if wrong:
            raise UsageError(
                f"Impossible synthetic series: {', '.join(wrong)}",
                remedy="Give values inside these ranges.",
            )


@dataclass(frozen=True)
class Flaws:
    """What a segmentation makes of the truth: shares of organoids or, for ``rough``, pixels.

    ``missed``: not found in a frame; ``rough``: how far an outline lies off, at most; ``invented``: false organoids
    for each true one.
    """

    missed: float = 0.04
    rough: int = 1
    invented: float = 0.02


def make_series(
    seed: int, spec: SeriesSpec | None = None, flaws: Flaws | None = None, pixels: bool = True
) -> tuple[LabelledImage, ...]:
    """The frames of one series, uint8 (size, size) each, named ``series_SEED_tFFF.png``.

    ``flaws`` spoils the masks (never the pixels) as a segmentation would; an invented organoid has an id of its own,
    above every true one's. Without ``pixels`` the images are black, which is quicker.
    """
    spec = spec or SeriesSpec()
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x7E57]))
    bodies = _bodies(rng, spec)
    field = np.cumsum(rng.normal(0, spec.drift, (spec.frames, 2)), axis=0)
    field -= field[0]
    light_seed, flaw_rng = int(rng.integers(2**32)), np.random.default_rng([seed, 0xF1A3])
    out = []
    for frame in range(spec.frames):
        seen = {
            number: shape
            for number, body in enumerate(bodies, start=1)
            if (shape := body.at(frame, field[frame])) is not None
        }
        found = _instances(seen, spec)
        shown = (
            _picture(light_seed, frame, seen, spec) if pixels else np.zeros(found.shape, np.uint8)
        )
        if flaws is not None:
            found = _spoil(flaw_rng, found, flaws, frame, len(bodies), spec)
        name = f"series_{seed:05d}_t{frame:03d}.png"
        group = f"series_{seed:05d}"
        out.append(LabelledImage(Image(shown, name=name, group=group), found))
    return tuple(out)


@dataclass(frozen=True)
class _Body:
    """One organoid's life: from frame ``born`` to before ``gone``, a place (y, x) each frame."""

    shape: Shape
    born: int
    gone: int
    growth: float
    places: NDArray[np.float64]

    def at(self, frame: int, drift: NDArray[np.float64]) -> Shape | None:
        """Its outline in a frame; None before and after its life."""
        if not self.born <= frame < self.gone:
            return None
        grown = float((1 + self.growth) ** (frame - self.born))
        lobes = tuple(
            replace(lobe, y=lobe.y * grown, x=lobe.x * grown, radius=lobe.radius * grown)
            for lobe in self.shape.lobes
        )
        y, x = self.places[frame] + drift
        return replace(
            self.shape, y=float(y), x=float(x), radius=self.shape.radius * grown, lobes=lobes
        )


def _bodies(rng: np.random.Generator, spec: SeriesSpec) -> list[_Body]:
    bodies: list[_Body] = []
    first = int(rng.integers(spec.count[0], spec.count[1] + 1))
    births = [0] * first
    for frame in range(1, spec.frames):
        births += [frame] * int(rng.binomial(max(first, 1), spec.appear))
    for born in births:
        shape = _free_shape(rng, spec, [body.shape for body in bodies])
        life = int(rng.geometric(spec.vanish)) if spec.vanish else spec.frames
        steps = rng.normal(0, spec.motion, (spec.frames, 2))
        steps[: born + 1] = 0
        places = np.cumsum(steps, axis=0) + np.array([shape.y, shape.x])
        growth = float(rng.uniform(*spec.growth))
        bodies.append(_Body(shape, born, born + max(life, 1), growth, places))
    return bodies


def _free_shape(rng: np.random.Generator, spec: SeriesSpec, others: list[Shape]) -> Shape:
    """A new outline: on another one by chance, else apart from all where there is room."""
    low, high = np.log(spec.radius)
    radius = float(np.exp(rng.uniform(low, high)))
    kind = _KINDS[int(rng.integers(3 if radius >= 9 else 2))]
    parent = (
        others[int(rng.integers(len(others)))] if others and rng.random() < spec.overlap else None
    )
    shape = draw_shape(rng, kind, 0, 0, radius)
    for _ in range(_TRIES):
        if parent is None:
            y, x = rng.uniform(0, spec.size - 1, 2)
        else:
            angle = rng.uniform(0, 2 * np.pi)
            far = (radius + parent.radius) * rng.uniform(0.5, 1.0)
            y, x = parent.y + far * np.sin(angle), parent.x + far * np.cos(angle)
        shape = replace(shape, y=float(y), x=float(x))
        apart = all(
            np.hypot(y - o.y, x - o.x)
            > (0.5 * max(radius, o.radius) if o is parent else shape.reach + o.reach)
            for o in others
        )
        if apart and (parent is None or (min(y, x) >= 0 and max(y, x) < spec.size)):
            break
    return shape


def _patch(shape: Shape, size: int, margin: float) -> tuple[slice, slice] | None:
    reach = shape.reach + margin
    top, left = max(0, int(shape.y - reach)), max(0, int(shape.x - reach))
    bottom, right = min(size, int(shape.y + reach) + 2), min(size, int(shape.x + reach) + 2)
    return None if top >= bottom or left >= right else (slice(top, bottom), slice(left, right))


def _instances(seen: dict[int, Shape], spec: SeriesSpec) -> Instances:
    masks, ids = [], []
    for number, shape in seen.items():
        patch = _patch(shape, spec.size, 1)
        if patch is None:
            continue
        y, x = np.mgrid[patch].astype(np.float64)
        mask = Mask.from_bits(shape.depth(y, x) > 0, patch[0].start, patch[1].start)
        if mask is not None and mask.area >= spec.min_area:
            masks.append(mask)
            ids.append(number)
    return Instances.from_masks((spec.size, spec.size), masks, ids=np.array(ids, np.int64))


def _picture(seed: int, frame: int, seen: dict[int, Shape], spec: SeriesSpec) -> NDArray[np.uint8]:
    """The frame's pixels; an organoid keeps its looks, the background stays, the noise is new."""
    still = np.random.default_rng([seed, 1])
    light = optics.background(still, spec.size, 0.25, 0.25, 0.0)
    for number, shape in seen.items():
        own = np.random.default_rng([seed, 2, number])
        blur = min(abs(float(own.normal(0, 1.0))), 0.16 * shape.radius)
        patch = _patch(shape, spec.size, 4 * blur + 8)
        if patch is not None:
            y, x = np.mgrid[patch].astype(np.float64)
            look = optics.draw_look(own, shape, blur, 0.7)
            light[patch] *= optics.transmission(own, shape, look, y, x)
    return optics.expose(np.random.default_rng([seed, 3, frame]), light, 0.014)


def _spoil(
    rng: np.random.Generator,
    truth: Instances,
    flaws: Flaws,
    frame: int,
    bodies: int,
    spec: SeriesSpec,
) -> Instances:
    masks, ids = [], []
    for mask, number in zip(truth.masks, truth.ids.tolist(), strict=True):
        if rng.random() >= flaws.missed:
            masks.append(_roughened(rng, mask, flaws.rough, truth.shape))
            ids.append(number)
    for extra in range(int(rng.binomial(max(len(truth), 1), flaws.invented))):
        shape = _free_shape(rng, spec, [])
        false = _instances({bodies + 1000 * (frame + 1) + extra: shape}, spec)
        masks += list(false.masks)
        ids += false.ids.tolist()
    order = rng.permutation(len(masks))
    return Instances.from_masks(
        truth.shape,
        [masks[i] for i in order],
        ids=np.array([ids[i] for i in order], np.int64),
        drop_empty=True,
    )


def _roughened(
    rng: np.random.Generator, mask: Mask, rough: int, shape: tuple[int, int]
) -> Mask | None:
    """The mask with its outline up to ``rough`` pixels off, inwards or outwards, differently round about."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    if rough == 0:
        return mask
    margin = rough + 1
    bits = np.pad(mask.bits, margin)
    depth = distance_transform_edt(bits) - distance_transform_edt(~bits)
    noise = gaussian_filter(rng.standard_normal(bits.shape), 3)
    spread = float(np.abs(noise).max()) or 1.0
    moved = depth + rough * (noise / spread + rng.uniform(-0.5, 0.5)) > 0
    top, left = mask.y - margin, mask.x - margin
    inside = moved[max(0, -top) : max(0, shape[0] - top), max(0, -left) : max(0, shape[1] - left)]
    return Mask.from_bits(inside, max(0, top), max(0, left)) or mask
