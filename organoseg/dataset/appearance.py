"""How an organoid of a `Scene` looks: walls, lumen, dense bodies and what defocus makes of them.

Densities are natural logarithms of dimming, so that organoids that lie over one another add up. Where the wall's
darkest line lies against the outline, how wide it is and what is left of the light in the lumen follow profiles that
were measured on real brightfield pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.dataset.scene import Scene
from organoseg.dataset.shapes import Field, Shape


@dataclass(frozen=True)
class Body:
    """One organoid: its outline, its look, and whether a person would outline it.

    ``blur`` is its defocus in px (standard deviation). ``wall`` and ``width`` are the density and half width of the
    line that is the outline, ``depth`` how far into the body the wall reaches, of which ``share`` of the density;
    ``second`` the density of the inner line, ``core`` that of what fills the body, ``grain`` its mottling, ``lens``
    the light gathered in its middle, ``fringe`` the bright line beside the wall, ``relief`` and ``one_sided`` what
    oblique light does to the filling and the wall.
    """

    shape: Shape
    blur: float
    labelled: bool
    wall: float
    width: float
    depth: float
    share: float
    second: float
    core: float
    grain: float
    lens: float
    fringe: float
    relief: float
    one_sided: float
    clumps: int

    @property
    def seen(self) -> float:
        """About the density of what defocus leaves of its wall or its filling."""
        line = self.wall * self.width / float(np.hypot(self.width, 1.4 * self.blur))
        return max(line, 0.7 * self.core)

    @property
    def margin(self) -> float:
        """Px beyond the outline in which it still dims the light."""
        return 4 * self.blur + 4 * self.width + 8


def draw_body(
    rng: np.random.Generator, shape: Shape, scene: Scene, blur: float, labelled: bool
) -> Body:
    """A random look for an outline."""
    radius = shape.radius
    size = float((radius / 16) ** 0.4)
    wall = scene.wall * float(np.exp(rng.normal(0, 0.35)))
    # Those that nobody outlines are so because little is seen of them.
    wall *= 1.0 if labelled else float(rng.uniform(0.4, 1.0))
    dense = shape.kind != "cyst" and rng.random() < scene.dense
    if shape.kind == "cyst":
        core = rng.normal(0.03, 0.04)
        grain = scene.grain * rng.uniform(0, 0.04)
        share, depth = rng.uniform(0.15, 0.6), rng.uniform(0.10, 0.22)
    else:
        core = rng.uniform(0.5, 1.5) if dense else rng.uniform(0.05, 0.35)
        grain, share, depth = rng.uniform(0.3, 1), rng.uniform(0.3, 0.8), rng.uniform(0.15, 0.4)
        grain *= scene.grain * (0.04 + 0.25 * core)
    # Small ones have hardly a lumen: what is behind their wall is dim too.
    core += 0.12 * float(np.clip(1.4 - radius / 12, 0, 1)) * rng.uniform(0.3, 1.2)
    # What is out of focus gathers light in its middle on one side of the plane.
    gathered = min(blur / (0.12 * radius + 1), 1) * rng.uniform(0, 0.16)
    return Body(
        shape=shape,
        blur=blur,
        labelled=labelled,
        wall=wall,
        width=float(rng.uniform(0.9, 1.7) * size * scene.thickness),
        depth=float(max(depth * radius**0.9, 1.5)),
        share=float(share),
        second=float(wall * rng.uniform(0.3, 0.9)) if rng.random() < 0.35 else 0.0,
        core=float(core),
        grain=float(grain),
        lens=float(gathered + max(rng.normal(0, 0.03), 0)),
        fringe=float(rng.normal(0.03, 0.04)),
        relief=float(scene.oblique * rng.uniform(0, 0.35)),
        one_sided=float(scene.oblique * rng.uniform(0.4, 1.1)),
        clumps=int(rng.integers(1, 6)) if radius > 8 and rng.random() < 0.4 else 0,
    )


def transmission(
    rng: np.random.Generator, body: Body, light: float, y: Field, x: Field
) -> NDArray[np.float64]:
    """The share of light that passes at each point; ``light`` is the direction that it slants from, in radians."""
    from scipy.ndimage import gaussian_filter

    shape = body.shape
    depth = shape.depth(y, x)
    dy, dx = y - shape.y, x - shape.x
    theta = np.arctan2(dy, dx)
    inside = 1 / (1 + np.exp(-np.clip(2.5 * depth, -60, 60)))
    density = _wall(rng, body, depth, theta, light)
    filled = np.clip(depth / shape.radius, 0, 1)
    profile = np.sqrt(filled * (2 - filled)) if shape.kind != "bud" else filled**0.4
    density += body.core * profile * inside
    density -= body.lens * np.exp(-(((1 - filled) / 0.55) ** 2)) * inside
    slope = (dx * np.cos(light) + dy * np.sin(light)) / shape.radius
    density -= body.relief * slope * profile * inside
    if body.grain > 0.005:
        density += body.grain * _mottle(rng, depth.shape) * inside
    for _ in range(body.clumps):
        density += _clump(rng, shape, y, x) * inside
    spread = float(np.hypot(0.6, body.blur))
    blurred = gaussian_filter(density, spread, truncate=3)
    # Light from above and below the plane spreads wider than the sharp part of the picture.
    blurred += 0.12 * (gaussian_filter(density, 2.5 + 1.5 * spread, truncate=2) - blurred)
    return np.asarray(np.exp(-blurred))


def _wall(
    rng: np.random.Generator, body: Body, depth: Field, theta: Field, light: float
) -> NDArray[np.float64]:
    """The outline's dark line, the wall behind it and the bright lines beside it."""
    radius, width = body.shape.radius, body.width
    uneven = 0.25 * round_noise(rng, theta, 5) + 0.24 * round_noise(rng, theta, max(int(radius), 7))
    strength = np.exp(uneven) * np.clip(1 - body.one_sided * np.cos(theta - light), 0.05, None)
    # A person draws along the darkest line; of a blurred one a little outside it.
    line = 0.5 + 0.3 * body.blur
    past = np.maximum(depth - line, 0)
    reach = body.depth * np.exp(0.5 * round_noise(rng, theta, 7))
    density = (1 - body.share) * np.exp(-(((depth - line) / width) ** 2))
    rising = np.exp(-((np.minimum(depth - line, 0) / width) ** 2))
    density += body.share * rising * np.exp(-((past / reach) ** 1.5))
    density *= body.wall * strength
    if body.second:
        inner = np.exp(-(((depth - line - reach - width) / (0.8 * width)) ** 2))
        density += body.second * strength * inner * (depth > line)
    density -= body.fringe * np.exp(-(((past - 2.2 * width) / (1.2 * width)) ** 2)) * (past > 0)
    density -= body.fringe * np.exp(-(((depth - line + 2.6 * width) / (1.2 * width)) ** 2))
    return np.asarray(density)


def round_noise(rng: np.random.Generator, theta: Field, knots: int) -> NDArray[np.float64]:
    """Noise of about unit spread round a body, with ``knots`` values that flow into one another."""
    values = rng.standard_normal(knots)
    place = (theta + np.pi) / (2 * np.pi) * knots
    left = np.floor(place).astype(int)
    part = place - left
    smooth = part * part * (3 - 2 * part)
    return np.asarray(values[left % knots] * (1 - smooth) + values[(left + 1) % knots] * smooth)


def _mottle(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Cells and groups of cells: noise of two sizes, about unit spread."""
    from scipy.ndimage import gaussian_filter

    fine = gaussian_filter(rng.standard_normal(shape), 1.1, truncate=3) * 3.6
    coarse = gaussian_filter(rng.standard_normal(shape), 3.0, truncate=3) * 9.0
    return np.asarray(0.7 * fine + 0.7 * coarse)


def _clump(rng: np.random.Generator, shape: Shape, y: Field, x: Field) -> NDArray[np.float64]:
    """Dead cells in or on the body: a dark spot, sometimes bright in its middle."""
    angle, far = rng.uniform(0, 2 * np.pi), shape.radius * rng.uniform(0, 0.75)
    size = rng.uniform(1.0, max(1.5, 0.13 * shape.radius))
    square = (y - shape.y - far * np.sin(angle)) ** 2 + (x - shape.x - far * np.cos(angle)) ** 2
    spot = np.exp(-square / (2 * size**2))
    if rng.random() < 0.3:
        spot = spot - 1.3 * np.exp(-square / (size**2))
    return np.asarray(rng.uniform(0.08, 0.5) * spot)
