"""What lies round the organoids of a `Scene`: uneven light, the gel's edge, dirt, bubbles, and the camera."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.dataset.scene import Scene
from organoseg.dataset.shapes import Field


def empty_field(
    rng: np.random.Generator, size: int, gradient: float, vignette: float, rim: float, scene: Scene
) -> NDArray[np.float64]:
    """The light without organoids, float64 (size, size) about ``scene.level``: uneven, with the edge of the gel and
    the seams of a stitched picture."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    field = 1 + gradient * rng.uniform(0, 1) * (y * np.sin(angle) + x * np.cos(angle))
    centre = rng.uniform(-0.3, 0.3, 2)
    field *= 1 - vignette * rng.uniform(0, 1) * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2)
    field *= 1 + 0.12 * gradient * _cloud(rng, size, 5) + 0.007 * _cloud(rng, size, 14)
    if rng.random() < rim:
        field *= _gel(rng, y, x, scene.gel)
    for _ in range(int(rng.integers(scene.seams + 1))):
        axis = (y, x)[int(rng.integers(2))]
        field *= 1 + rng.normal(0, 0.06) * (axis > rng.uniform(-0.5, 0.5))
    return np.asarray(scene.level * np.clip(field, 0.1, None))


def _cloud(rng: np.random.Generator, size: int, knots: int) -> Field:
    """Smooth noise of about unit spread, from ``knots`` x ``knots`` values."""
    near = np.arange(size)[:, None] / size * (knots - 1) - np.arange(knots)
    weights = np.exp(-(near**2) / 0.7)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return np.asarray(weights @ rng.standard_normal((knots, knots)) @ weights.T)


def _gel(rng: np.random.Generator, y: Field, x: Field, strength: float) -> Field:
    """The gel drop's edge: darker outside, with a bright or dark line that is straight or bent."""
    angle, radius = rng.uniform(0, 2 * np.pi), float(np.exp(rng.uniform(np.log(0.8), np.log(4))))
    far = radius - rng.uniform(0.05, 0.45)
    across = np.arctan2(y + far * np.sin(angle), x + far * np.cos(angle))
    out = np.hypot(y + far * np.sin(angle), x + far * np.cos(angle)) - radius
    out += 0.006 * np.cos(9 * across + rng.uniform(0, 6)) * rng.uniform(0, 1)
    step = 1 / (1 + np.exp(-np.clip(out / rng.uniform(0.003, 0.03), -60, 60)))
    dark = 1 - strength * rng.uniform(0.1, 1) * step
    # Outside, the light falls on over some way.
    dark *= 1 - 0.6 * strength * rng.uniform(0, 1) * np.clip(out / 0.5, 0, 1)
    width = rng.uniform(0.003, 0.015)
    line = rng.normal(0.04, 0.08) * np.exp(-((out / width) ** 2))
    return np.asarray(dark + line - 0.5 * line * np.exp(-(((out - 2 * width) / width) ** 2)))


def dirt(
    rng: np.random.Generator, size: int, specks: int, fibres: int, light: float, scene: Scene
) -> NDArray[np.float64]:
    """Transmission, float64 (size, size), of what is never outlined: specks, heaps of them, fibres and strands."""
    from scipy.ndimage import gaussian_filter

    sharp, blurred = np.zeros((size, size)), np.zeros((size, size))
    for _ in range(int(rng.integers(specks + 1))):
        layer = sharp if rng.random() < 0.6 else blurred
        y, x = rng.uniform(0, size, 2)
        _speck(rng, layer, y, x, scene, light)
    for _ in range(int(rng.integers(scene.clumps + 1))):
        layer = sharp if rng.random() < 0.6 else blurred
        y, x = rng.uniform(0, size, 2)
        for _ in range(int(rng.integers(3, 10))):
            _speck(rng, layer, y, x, scene, light)
            y, x = y + rng.normal(0, 2.5), x + rng.normal(0, 2.5)
    for _ in range(int(rng.integers(fibres + 1))):
        _strand(rng, sharp, 0.6)
    for _ in range(int(rng.integers(scene.strands + 1))):
        _strand(rng, sharp if rng.random() < 0.5 else blurred, rng.uniform(1, 6))
    sharp = gaussian_filter(sharp, rng.uniform(0.6, 1.1))
    return np.asarray(np.exp(-sharp - gaussian_filter(blurred, rng.uniform(1.6, 3.5))))


def _window(size: int, y: float, x: float, reach: float) -> tuple[Field, Field, Any]:
    # A drift may have carried the middle out of the field.
    (top, bottom), (left, right) = (
        (max(0, int(middle - reach)), max(0, min(size, int(middle + reach) + 2)))
        for middle in (y, x)
    )
    part = np.s_[min(top, bottom) : bottom, min(left, right) : right]
    yy, xx = np.mgrid[part].astype(np.float64)
    return yy - y, xx - x, part


def _speck(
    rng: np.random.Generator, density: Field, y: float, x: float, scene: Scene, light: float
) -> None:
    """A cell or a grain: dark, or bright in its middle as living cells are, or dark on one side alone."""
    radius = float(np.exp(rng.uniform(np.log(0.8), np.log(scene.speck))))
    dy, dx, part = _window(density.shape[0], y, x, 4 * radius + 2)
    long, angle = rng.uniform(1, 1.7), rng.uniform(0, np.pi)
    u = (dx * np.cos(angle) + dy * np.sin(angle)) / long
    v = (dy * np.cos(angle) - dx * np.sin(angle)) * long**0.5
    distance = np.hypot(u, v) / radius
    look = rng.random()
    spot = np.exp(-(distance**2))
    if look < 0.35:
        spot = np.exp(-(((distance - 1.1) / 0.5) ** 2)) - 0.5 * np.exp(-((distance / 0.6) ** 2))
    elif look < 0.35 + 0.5 * scene.oblique:
        spot = spot * (1 - 1.6 * np.cos(np.arctan2(dy, dx) - light))
    density[part] += rng.uniform(0.1, 0.8) * spot


def _strand(rng: np.random.Generator, density: Field, width: float) -> None:
    """A bent fibre of ``width`` px (half), dark at its sides."""
    size = density.shape[0]
    start, way = rng.uniform(0, size, 2), rng.normal(0, 0.25 * size, 2)
    bend = 0.5 * way + rng.normal(0, 0.35) * np.array([-way[1], way[0]])
    t = np.linspace(0, 1, 48)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * (start + bend) + t**2 * (start + way)
    low = np.maximum(points.min(axis=0) - 3 * width - 2, 0).astype(int)
    high = np.minimum(points.max(axis=0) + 3 * width + 3, size).astype(int)
    if (low >= high).any():
        return
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]].astype(np.float64)
    square = np.full(y.shape, np.inf)
    for (ay, ax), (by, bx) in pairwise(points):
        wy, wx = by - ay, bx - ax
        along = np.clip(((y - ay) * wy + (x - ax) * wx) / max(wy * wy + wx * wx, 1e-9), 0, 1)
        square = np.minimum(square, (y - ay - along * wy) ** 2 + (x - ax - along * wx) ** 2)
    far = np.sqrt(square)
    body = np.exp(-((far / width) ** 4)) * rng.uniform(0.1, 0.6)
    sides = np.exp(-(((far - width) / (0.3 * width + 0.5)) ** 2)) * rng.uniform(0.1, 0.5)
    density[low[0] : high[0], low[1] : high[1]] += body + sides


def bubbles(rng: np.random.Generator, size: int, scene: Scene) -> NDArray[np.float64]:
    """Transmission, float64 (size, size), of air bubbles: round, nearly black, with a bright spot in the middle."""
    density = np.zeros((size, size))
    for _ in range(int(rng.integers(scene.bubbles + 1))):
        radius = float(np.exp(rng.uniform(np.log(8), np.log(60))))
        y, x = rng.uniform(-0.3 * radius, size + 0.3 * radius, 2)
        dy, dx, part = _window(size, y, x, 1.3 * radius + 3)
        if not dy.size:
            continue
        far = np.hypot(dy, dx)
        rim = np.clip((far / radius - rng.uniform(0.35, 0.75)) / 0.25, 0, 1)
        edge = 1 / (1 + np.exp(np.clip((far - radius) / 0.7, -60, 60)))
        density[part] += (rng.uniform(1.4, 3.0) * rim - rng.uniform(0, 0.3) * (1 - rim)) * edge
    return np.asarray(np.exp(-density))


def expose(
    rng: np.random.Generator, light: NDArray[np.float64], noise: float, scene: Scene
) -> NDArray[Any]:
    """The camera's picture of ``light`` (1 is white): uint8, or uint16 with a black level for ``scene.bits`` 16."""
    from scipy.ndimage import gaussian_filter

    seen = gaussian_filter(light, scene.soft) if scene.soft > 0.2 else light
    shot = noise * np.sqrt(np.clip(seen, 0, None)) * rng.standard_normal(light.shape)
    grain = gaussian_filter(
        shot + 0.3 * noise * rng.standard_normal(light.shape), rng.uniform(0.3, 0.7)
    )
    seen = np.clip(seen + grain, 0, 1)
    if scene.bits == 16:
        black, full = rng.uniform(80, 400), rng.uniform(1500, 4000)
        wide: NDArray[np.uint16] = np.round(black + full * seen).astype(np.uint16)
        return wide
    grey = np.round(255 * seen)
    if scene.jpeg:
        grey = _compressed(grey, scene.jpeg)
    narrow: NDArray[np.uint8] = np.clip(np.round(grey), 0, 255).astype(np.uint8)
    return narrow


def _compressed(grey: Field, quality: int) -> Field:
    """What JPEG's rounding of 8 x 8 px blocks leaves; coarser for higher frequencies, by its usual rule of quality.

    Written here and not left to a library, whose versions round differently: a seed means the same bits everywhere.
    """
    from scipy.fft import dctn, idctn

    height, width = grey.shape
    padded = np.pad(grey, ((0, -height % 8), (0, -width % 8)), mode="edge") - 128
    rows, columns = padded.shape[0] // 8, padded.shape[1] // 8
    blocks = padded.reshape(rows, 8, columns, 8).swapaxes(1, 2)
    v, u = np.mgrid[0:8, 0:8]
    # Near the luminance table of the standard's annex, without its unevenness.
    table = 10 + 4.5 * (u + v) + 1.2 * u * v
    scale = 50 / quality if quality < 50 else 2 - quality / 50
    step = np.maximum(np.round(table * scale), 1)
    spectrum = np.round(dctn(blocks, axes=(2, 3), norm="ortho") / step) * step
    back = idctn(spectrum, axes=(2, 3), norm="ortho").swapaxes(1, 2).reshape(padded.shape)
    return np.asarray(back[:height, :width] + 128)
