"""How synthetic organoids look in brightfield: light falls through, so transmissions multiply."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.dataset.shapes import Field, Shape

_POINT_SPREAD = 0.7


@dataclass(frozen=True)
class Look:
    """One organoid's optical properties; densities are natural logarithms of dimming.

    ``blur`` is the defocus in pixels (standard deviation); ``fringe`` the strength of the bright
    line beside the wall, which lies inside it or, below zero, outside; ``core`` and ``grain`` are
    the density and mottling of what fills the organoid.
    """

    wall: float
    width: float
    core: float
    grain: float
    fringe: float
    blur: float
    light: float


def draw_look(rng: np.random.Generator, shape: Shape, blur: float, light: float) -> Look:
    """Random properties for a shape's kind: cysts clear with thin dark walls, others filled."""
    fringe = float(rng.normal(0.06, 0.06))
    size = float((shape.radius / 20) ** 0.35)
    if shape.kind == "cyst":
        wall, width = rng.uniform(0.5, 1.2), rng.uniform(0.9, 1.6) * size
        core, grain = rng.uniform(-0.04, 0.14), rng.uniform(0.0, 0.04)
    elif shape.kind == "sphere":
        wall, width = rng.uniform(0.4, 1.0), rng.uniform(1.0, 1.9) * size
        # Some are dense balls of cells that hardly let light through.
        core = rng.uniform(0.6, 1.1) if rng.random() < 0.2 else rng.uniform(0.08, 0.5)
        grain = rng.uniform(0.02, 0.08)
    else:
        wall, width = rng.uniform(0.45, 0.8), rng.uniform(1.1, 1.8) * size
        core, grain = rng.uniform(0.1, 0.5), rng.uniform(0.04, 0.11)
    return Look(
        wall=float(wall),
        width=float(max(width, 0.7)),
        core=float(core),
        grain=float(grain),
        fringe=fringe,
        blur=blur,
        light=light,
    )


def transmission(
    rng: np.random.Generator, shape: Shape, look: Look, y: Field, x: Field
) -> NDArray[np.float64]:
    """The share of light that passes the organoid at each point, above 1 in its bright fringe."""
    from scipy.ndimage import gaussian_filter

    depth = shape.depth(y, x)
    dy, dx = y - shape.y, x - shape.x
    theta = np.arctan2(dy, dx)
    inside = 1 / (1 + np.exp(-np.clip(2.5 * depth, -60, 60)))
    uneven = 1 + _round_noise(rng, theta)
    # The slanted condenser brightens the wall on one side and darkens it on the other.
    slant = 1 - 0.35 * np.cos(theta - look.light)
    density = look.wall * uneven * slant * _line(depth, look.width, look.width)
    density -= look.fringe * _line(depth, 3.2 * look.width, 1.3 * look.width)
    density -= 0.5 * look.fringe * _line(depth, -2.2 * look.width, 1.3 * look.width)
    filled = np.clip(depth / shape.radius, 0, 1)
    # A ball is thickest in the middle; a budding body's dead cells gather there.
    profile = np.sqrt(filled * (2 - filled)) if shape.kind != "bud" else np.sqrt(filled)
    density += look.core * profile * inside
    mottle = gaussian_filter(rng.standard_normal(depth.shape), 2.0) * 5.0
    density += look.grain * mottle * inside
    density += _clumps(rng, shape, y, x) * inside
    # Even in focus the objective draws no line thinner than its point spread.
    blurred = gaussian_filter(density, float(np.hypot(_POINT_SPREAD, look.blur)))
    return np.asarray(np.exp(-blurred))


def _line(depth: Field, centre: float, width: float) -> Field:
    return np.exp(-(((depth - centre) / width) ** 2))


def _round_noise(rng: np.random.Generator, theta: Field) -> Field:
    noise = np.zeros_like(theta)
    for waves in (1, 2, 3, 5, 8):
        noise += rng.normal(0, 0.12) * np.cos(waves * theta + rng.uniform(0, 2 * np.pi))
    return noise


def _clumps(rng: np.random.Generator, shape: Shape, y: Field, x: Field) -> Field:
    """Dead cells in the lumen: a few small dark spots off the middle."""
    density = np.zeros_like(y)
    if shape.radius < 9 or rng.random() > 0.45:
        return density
    for _ in range(int(rng.integers(1, 5))):
        angle, far = rng.uniform(0, 2 * np.pi), shape.radius * rng.uniform(0, 0.65)
        size = rng.uniform(1.2, max(1.6, 0.16 * shape.radius))
        square = (y - shape.y - far * np.sin(angle)) ** 2 + (x - shape.x - far * np.cos(angle)) ** 2
        density += rng.uniform(0.15, 0.6) * np.exp(-square / (2 * size**2))
    return density


def background(
    rng: np.random.Generator, size: int, gradient: float, vignette: float, rim: float
) -> NDArray[np.float64]:
    """The empty field, float64 (size, size) around 0.3 to 0.8: uneven, darker at the edges.

    ``rim`` is the chance that the edge of the gel drop runs through the field.
    """
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    level = rng.uniform(0.36, 0.78)
    angle = rng.uniform(0, 2 * np.pi)
    field = 1 + gradient * rng.uniform(0.2, 1) * 2 * (y * np.sin(angle) + x * np.cos(angle))
    centre = rng.uniform(-0.15, 0.15, 2)
    field *= 1 - vignette * rng.uniform(0.2, 1) * 2 * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2)
    field *= 1 + 0.08 * gradient * _cloud(rng, size)
    if rng.random() < rim:
        field *= _gel_rim(rng, y, x)
    return np.asarray(level * np.clip(field, 0.15, None))


def _cloud(rng: np.random.Generator, size: int) -> Field:
    from scipy.ndimage import zoom

    coarse = zoom(rng.standard_normal((5, 5)), (size + 1) / 5, order=3)
    return np.asarray(coarse[:size, :size], dtype=np.float64)


def _gel_rim(rng: np.random.Generator, y: Field, x: Field) -> Field:
    """Outside the gel drop the field is darker; its edge is a faint bright line."""
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 2.0)
    far = radius - rng.uniform(0.2, 0.42)
    out = np.hypot(y + far * np.sin(angle), x + far * np.cos(angle)) - radius
    step = 1 / (1 + np.exp(-np.clip(out / 0.02, -60, 60)))
    dark = 1 - rng.uniform(0.05, 0.35) * step
    return np.asarray(dark + rng.uniform(0.03, 0.12) * np.exp(-((out / 0.012) ** 2)))


def debris(rng: np.random.Generator, size: int, count: int, fibres: int) -> NDArray[np.float64]:
    """Transmission, float64 (size, size), of single cells, specks and fibres: never labelled."""
    from scipy.ndimage import gaussian_filter

    density = np.zeros((size, size))
    for _ in range(count):
        _speck(rng, density)
    for _ in range(fibres):
        _fibre(rng, density)
    return np.asarray(np.exp(-gaussian_filter(density, rng.uniform(0.7, 1.3))))


def _speck(rng: np.random.Generator, density: Field) -> None:
    size = density.shape[0]
    radius = rng.uniform(0.8, 2.6)
    cy, cx = rng.uniform(0, size, 2)
    reach = int(4 * radius + 2)
    top, left = max(0, int(cy) - reach), max(0, int(cx) - reach)
    y, x = np.mgrid[top : min(size, int(cy) + reach), left : min(size, int(cx) + reach)]
    long, angle = rng.uniform(1, 1.8), rng.uniform(0, np.pi)
    u = ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)) / long
    v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    distance = np.hypot(u, v) / radius
    spot = np.exp(-(distance**2))
    # Living single cells shine: bright in the middle, dark round it.
    if rng.random() < 0.4:
        spot = np.exp(-(((distance - 1.2) / 0.5) ** 2)) - 0.5 * np.exp(-((distance / 0.6) ** 2))
    density[y, x] += rng.uniform(0.1, 0.7) * spot


def _fibre(rng: np.random.Generator, density: Field) -> None:
    size = density.shape[0]
    start = rng.uniform(0, size, 2)
    way = rng.normal(0, 0.2 * size, 2)
    # The bend is across the way, so that a fibre curves but never folds back sharply.
    bend = 0.5 * way + rng.normal(0, 0.35) * np.array([-way[1], way[0]])
    ends = start + np.stack([bend, way])
    t = np.linspace(0, 1, 4 * size)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * ends[0] + t**2 * ends[1]
    y, x = np.round(points).astype(int).T
    held = (y >= 0) & (y < size) & (x >= 0) & (x < size)
    line = np.zeros_like(density)
    line[y[held], x[held]] = rng.uniform(0.2, 0.5)
    density += line


def expose(rng: np.random.Generator, light: NDArray[np.float64], noise: float) -> NDArray[np.uint8]:
    """The camera's uint8 image of ``light`` (1 is white): shot and read noise, slightly soft."""
    from scipy.ndimage import gaussian_filter

    shot = noise * np.sqrt(np.clip(light, 0, None)) * rng.standard_normal(light.shape)
    grains = gaussian_filter(shot + 0.3 * noise * rng.standard_normal(light.shape), 0.5)
    exposed: NDArray[np.uint8] = np.clip(np.round(255 * (light + grains)), 0, 255).astype(np.uint8)
    return exposed
