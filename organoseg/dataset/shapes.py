"""Outlines of synthetic organoids: spheres, cysts and budding bodies as signed depth fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["sphere", "cyst", "bud"]
Field = NDArray[np.float64]


@dataclass(frozen=True)
class Lobe:
    """A round part: offset of its centre from the body's (y, x) and radius, in pixels."""

    y: float
    x: float
    radius: float


@dataclass(frozen=True)
class Shape:
    """One organoid's outline: a rippled, stretched body with lobes melted onto it.

    ``y`` and ``x`` are the body's centre in image pixels (pixel centres are whole numbers);
    ``ripples`` are (waves round the body, relative height, phase).
    """

    kind: Kind
    y: float
    x: float
    radius: float
    stretch: float = 1.0
    angle: float = 0.0
    ripples: tuple[tuple[int, float, float], ...] = ()
    lobes: tuple[Lobe, ...] = ()

    @property
    def reach(self) -> float:
        """No part of the outline is farther from the centre than this, in pixels."""
        body = self.radius * self.stretch * (1 + sum(height for _, height, _ in self.ripples))
        tips = [float(np.hypot(lobe.y, lobe.x)) + lobe.radius for lobe in self.lobes]
        return max([body, *tips]) + 0.5 * _melt(self.radius)

    def depth(self, y: Field, x: Field) -> Field:
        """About how many pixels each point (image coordinates) lies inside; negative outside.

        The organoid's mask is exactly where this is positive at the pixel's centre.
        """
        dy, dx = y - self.y, x - self.x
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        along, across = (dx * cos + dy * sin) / self.stretch, (dy * cos - dx * sin) * self.stretch
        distance = np.hypot(along, across)
        theta = np.arctan2(across, along)
        edge = np.full_like(distance, self.radius)
        for waves, height, phase in self.ripples:
            edge += self.radius * height * np.cos(waves * theta + phase)
        depth: Field = edge - distance
        for lobe in self.lobes:
            part = lobe.radius - np.hypot(dy - lobe.y, dx - lobe.x)
            depth = _smooth_max(depth, part, _melt(self.radius))
        return depth


def draw_shape(rng: np.random.Generator, kind: Kind, y: float, x: float, radius: float) -> Shape:
    """A random outline of this kind; ``radius`` (pixels) is the body's, without its buds."""
    unrest = {"sphere": 0.03, "cyst": 0.015, "bud": 0.04}[kind]
    ripples = tuple(
        (waves, float(abs(rng.normal(0, unrest / (waves - 1)))), float(rng.uniform(0, 2 * np.pi)))
        for waves in (2, 3, 4, 5)
    )
    stretch = float(1 + abs(rng.normal(0, 0.06)))
    lobes = _buds(rng, radius) if kind == "bud" else ()
    angle = float(rng.uniform(0, np.pi))
    return Shape(kind, y, x, radius, stretch, angle, ripples, lobes)


def _buds(rng: np.random.Generator, radius: float) -> tuple[Lobe, ...]:
    """One to four crypts, spread round the body; some grow out into a second, smaller lobe."""
    count = int(rng.integers(1, 5))
    start = rng.uniform(0, 2 * np.pi)
    lobes = []
    for bud in range(count):
        angle = start + 2 * np.pi * bud / count + rng.uniform(-0.4, 0.4)
        size = radius * rng.uniform(0.35, 0.55)
        far = radius * rng.uniform(0.9, 1.25)
        lobes.append(Lobe(float(far * np.sin(angle)), float(far * np.cos(angle)), float(size)))
        if rng.random() < 0.35:
            angle += rng.uniform(-0.25, 0.25)
            far += 0.9 * size
            tip = Lobe(float(far * np.sin(angle)), float(far * np.cos(angle)), float(0.85 * size))
            lobes.append(tip)
    return tuple(lobes)


def _melt(radius: float) -> float:
    """How far, in pixels, two parts flow into each other where they meet."""
    return 0.2 * radius


def _smooth_max(a: Field, b: Field, width: float) -> Field:
    near: Field = np.maximum(width - np.abs(a - b), 0) / width
    melted: Field = np.maximum(a, b) + near * near * width / 4
    return melted
