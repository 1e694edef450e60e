"""What a synthetic picture shows beside the numbers of `SyntheticSpec`, and where its organoids lie.

With a `Scene` a picture is made as those of microscopes are: crowds and lonely ones, clusters that touch, small ones
over large ones, each at its own height, so that some are sharp, some blurred, and some too far off for a person to
outline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from organoseg.core import UsageError
from organoseg.dataset.shapes import Kind, Shape, draw_shape

if TYPE_CHECKING:
    from organoseg.dataset.synthetic import SyntheticSpec

_TRIES = 25
KINDS: tuple[Kind, ...] = ("sphere", "cyst", "bud")


@dataclass(frozen=True)
class Scene:
    """One picture's light, focus and dirt. Lengths are pixels, densities natural logarithms of dimming.

    ``typical`` and ``spread``: median radius and spread of its logarithm; ``clusters``: the chance that an organoid
    touches another; ``side``: how much they crowd on one side of the field, 0 to 1; ``ragged``: the chance of an
    uneven outline. ``focus``: how far the picture's own plane is off. ``wall``: density of walls; ``thickness``: factor
    of their width; ``dense``: share of filled bodies that hardly let light through; ``grain``: their mottling;
    ``oblique``: how one-sided the light is, 0 to 1. ``level``: grey of the empty field, 0 to 1; ``gel``: how much
    darker it is outside the gel drop, where its edge is seen. ``bubbles``, ``strands``, ``seams``: the most of each;
    ``clumps``: the most heaps of dead cells; ``speck``: the largest radius of a speck. ``soft``: the camera's own blur;
    ``bits``: 8, or 16 for a camera of 12 bits in 16; ``jpeg``: quality from 1 to 100, or 0 for none.

    What is in the picture but not outlined: what is so far out of focus or so faint (``faintest``: density of what is
    seen of the wall) that a person would leave it, what is cut by the border with less than ``least_seen`` of it in
    the field, ``blobs`` (the most) of dense bodies out of focus, and all dirt.
    """

    typical: float = 16.0
    spread: float = 0.5
    clusters: float = 0.2
    side: float = 0.3
    ragged: float = 0.15
    focus: float = 0.3
    wall: float = 0.55
    thickness: float = 1.0
    dense: float = 0.2
    grain: float = 1.0
    oblique: float = 0.25
    level: float = 0.5
    gel: float = 0.2
    bubbles: int = 0
    strands: int = 0
    seams: int = 0
    clumps: int = 2
    speck: float = 3.0
    soft: float = 0.6
    bits: int = 8
    jpeg: int = 0
    blobs: int = 6
    faintest: float = 0.13
    least_seen: float = 0.5

    def __post_init__(self) -> None:
        fine = {
            "typical (2 or more)": self.typical >= 2,
            "spread, focus, wall, thickness, grain, soft (0 or more)": min(
                self.spread, self.focus, self.wall, self.thickness, self.grain, self.soft
            )
            >= 0,
            "clusters, side, ragged, dense, oblique, gel, least_seen (0 to 1)": all(
                0 <= share <= 1
                for share in (
                    self.clusters, self.side, self.ragged, self.dense, self.oblique, self.gel,
                    self.least_seen,
                )
            ),
            "level (above 0, to 1)": 0 < self.level <= 1,
            "bubbles, strands, seams, clumps, blobs (0 or more)": min(
                self.bubbles, self.strands, self.seams, self.clumps, self.blobs
            )
            >= 0,
            "speck (1 or more)": self.speck >= 1,
            "bits (8 or 16)": self.bits in (8, 16),
            "jpeg (0 to 100)": 0 <= self.jpeg <= 100,
        }  # fmt: skip
        wrong = [name for name, holds in fine.items() if not holds]
        if wrong:
            raise UsageError(
                f"Impossible synthetic scene: {', '.join(wrong)}",
                remedy="Give values inside these ranges.",
            )


def blur_limit(radius: float, kind: Kind = "cyst") -> float:
    """The most defocus, px, with which a person still outlines an organoid of this radius, px.

    A cyst's wall is seen as a ring for long; a filled body soon is a shadow.
    """
    return 0.13 * radius + 1.2 if kind == "cyst" else 0.07 * radius + 0.9


@dataclass(frozen=True)
class Placed:
    """An outline, its defocus in px, and whether a person would outline it."""

    shape: Shape
    blur: float
    labelled: bool


def place(rng: np.random.Generator, spec: SyntheticSpec, scene: Scene) -> list[Placed]:
    """All organoids of a picture; those too far out of focus first."""
    shapes = _shapes(rng, spec, scene)
    faint = []
    for _ in range(int(rng.integers(spec.faint + 1))):
        radius = _radius(rng, spec, scene)
        y, x = rng.uniform(-0.5 * radius, spec.size + 0.5 * radius, 2)
        shape = _outline(rng, spec, scene, float(y), float(x), radius)
        limit = blur_limit(radius, shape.kind)
        faint.append(Placed(shape, limit * float(rng.uniform(1.8, 3.5)), False))
    for _ in range(int(rng.integers(scene.blobs + 1))):
        radius = float(np.exp(rng.uniform(np.log(2.5), np.log(max(1.2 * scene.typical, 6)))))
        y, x = rng.uniform(0, spec.size, 2)
        shape = draw_shape(rng, "sphere", float(y), float(x), radius)
        faint.append(Placed(shape, 0.16 * radius + float(rng.uniform(1.0, 3.0)), False))
    seen = []
    for shape in shapes:
        # Most lie near the plane, a quarter anywhere in the gel.
        far = 3.0 if rng.random() < 0.3 else 1.0
        blur = abs(float(rng.normal(scene.focus, far * spec.defocus)))
        seen.append(Placed(shape, min(blur, blur_limit(shape.radius, shape.kind)), True))
    return faint + seen


def _shapes(rng: np.random.Generator, spec: SyntheticSpec, scene: Scene) -> list[Shape]:
    wanted = int(rng.integers(spec.count[0], spec.count[1] + 1))
    side = float(rng.uniform(0, 2 * np.pi))
    # Large ones first: what is put later finds room, or lies on them.
    radii = sorted((_radius(rng, spec, scene) for _ in range(wanted)), reverse=True)
    placed: list[Shape] = []
    for radius in radii:
        chance = rng.random()
        on, beside = chance < spec.overlap, chance < spec.overlap + scene.clusters
        for _ in range(_TRIES):
            y, x, parent = _position(rng, spec, scene, radius, side, placed, on, beside)
            far = [
                (float(np.hypot(y - other.y, x - other.x)), other)
                for other in placed
                if abs(y - other.y) < radius + 2 * other.reach
            ]
            if parent is None:
                fits = all(gap > 1.06 * (radius + other.radius) + 1 for gap, other in far)
            else:
                fits = all(_distinct(gap, radius, other.radius, on) for gap, other in far)
            if fits:
                placed.append(_outline(rng, spec, scene, y, x, radius))
                break
    return placed


def _position(
    rng: np.random.Generator,
    spec: SyntheticSpec,
    scene: Scene,
    radius: float,
    side: float,
    placed: list[Shape],
    on: bool,
    beside: bool,
) -> tuple[float, float, Shape | None]:
    if placed and (on or beside):
        parent = placed[int(rng.integers(len(placed)))]
        angle = rng.uniform(0, 2 * np.pi)
        low = 0.1 if radius < 0.5 * parent.radius else 0.35
        near, wide = (low, 0.93) if on else (0.93, 1.08)
        far = (radius + parent.radius) * rng.uniform(near, wide)
        return parent.y + far * np.sin(angle), parent.x + far * np.cos(angle), parent
    for _ in range(8):
        y, x = rng.uniform(-0.3 * radius, spec.size - 1 + 0.3 * radius, 2)
        across = (y / spec.size - 0.5) * np.sin(side) + (x / spec.size - 0.5) * np.cos(side)
        if rng.random() < 1 - scene.side * float(np.clip(0.6 + 1.6 * across, 0, 1)):
            break
    return float(y), float(x), None


def _distinct(gap: float, radius: float, other: float, on: bool) -> bool:
    """Two outlines that a person tells apart: not nearly the same, and of those beside others hardly over any."""
    small, large = min(radius, other), max(radius, other)
    if small < 0.5 * large:
        return on or gap > 0.9 * (small + large)
    return gap > (0.45 * large if on else 0.88 * (small + large))


def _radius(rng: np.random.Generator, spec: SyntheticSpec, scene: Scene) -> float:
    radius = scene.typical * float(np.exp(rng.normal(0, scene.spread)))
    return float(np.clip(radius, *spec.radius))


def _outline(
    rng: np.random.Generator, spec: SyntheticSpec, scene: Scene, y: float, x: float, radius: float
) -> Shape:
    shares = np.array(spec.kinds) * (1, 1, radius >= 9 or not any(spec.kinds[:2]))
    shape = draw_shape(rng, KINDS[int(rng.choice(3, p=shares / shares.sum()))], y, x, radius)
    stretch = float(1 + abs(rng.normal(0, 0.08)))
    ripples = shape.ripples
    if shape.kind != "cyst" and rng.random() < scene.ragged * 2 and radius > 5:
        # Cells stand out of dense ones, and small ones may be lumps of a few parts.
        height = float(rng.uniform(0.03, 0.16))
        ripples = tuple(
            (
                waves,
                abs(float(rng.normal(0, height / waves**0.7))),
                float(rng.uniform(0, 2 * np.pi)),
            )
            for waves in range(2, 6 + int(radius / 4))
        )
    elif rng.random() < 0.5:
        ripples = (
            *ripples,
            *(
                (waves, abs(float(rng.normal(0, 0.012))), float(rng.uniform(0, 2 * np.pi)))
                for waves in (2, 3, 4, 6)
            ),
        )
    return Shape(shape.kind, y, x, radius, stretch, shape.angle, ripples, shape.lobes)
