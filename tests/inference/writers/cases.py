"""Results to write: a difficult one by hand, and parts of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Image, Instances, Mask
from organoseg.inference.part import Part
from organoseg.inference.result import Result
from organoseg.inference.writers import facts_of, thumbnail

CLASSES = {1: "organoid", 2: "cyst"}


def disc(radius: int, y: int, x: int, hole: int = 0) -> Mask:
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    far = rows**2 + columns**2
    mask = Mask.from_bits((far <= radius**2) & (far >= hole**2), y - radius, x - radius)
    assert mask is not None
    return mask


def difficult() -> Instances:
    """Touching, nested three deep, with a hole, crossing, in two pieces, at the border, and single pixels."""
    pieces = np.zeros((9, 25), bool)
    pieces[:, :9] = pieces[3:6, 15:] = True
    two = Mask.from_bits(pieces, 60, 90)
    assert two is not None
    masks = [
        disc(20, 30, 30), disc(12, 30, 30), disc(5, 30, 30),
        Mask(10, 60, np.ones((12, 12), bool)), Mask(10, 72, np.ones((12, 12), bool)),
        disc(14, 40, 100, hole=6), disc(10, 45, 108), two,
        Mask(0, 70, np.ones((6, 20), bool)), Mask(96, 115, np.ones((4, 5), bool)),
        Mask(0, 0, np.ones((1, 1), bool)), Mask(99, 119, np.ones((1, 1), bool)), Mask(30, 30, np.ones((1, 1), bool)),
    ]  # fmt: skip
    scores = np.linspace(0.95, 0.4, len(masks)).round(3)
    return Instances.from_masks(
        (100, 120),
        masks,
        scores=scores,
        classes=np.arange(len(masks)) % 2 + 1,
        sources=["model:x"] * len(masks),
    )


def apart(count: int = 6) -> Instances:
    """Organoids that do not overlap, in two rows."""
    masks = [
        disc(5 + n % 3, 15 + 30 * (n % 2), 15 + 22 * (n // 2), hole=2 * (n % 2))
        for n in range(count)
    ]
    return Instances.from_masks((60, 22 * (count // 2) + 30), masks)


def result(
    found: Instances,
    key: str = "plate1/well.tif",
    pixel_size: tuple[float, float] | None = (0.5, 0.5),
    fields: Mapping[str, str] | None = None,
    warnings: tuple[str, ...] = (),
    pixels: NDArray[np.uint16] | None = None,
) -> Result:
    if pixels is None:
        pixels = np.random.default_rng(1).integers(200, 3000, found.shape).astype(np.uint16)
    image = Image(pixels, pixel_size=pixel_size, name=key)
    return Result(key, image, found, CLASSES, fields or {}, warnings)


def part(made: Result, folder: Path, reader: Callable[[], Instances] | None = None) -> Part:
    """As the pipeline keeps it: the facts went through JSON, the thumbnail lies on the disk."""
    small = folder / "parts" / f"{made.key}.jpg"
    small.parent.mkdir(parents=True, exist_ok=True)
    small.write_bytes(thumbnail(made))
    facts = json.loads(json.dumps(facts_of(made), allow_nan=False))
    return Part(made.key, facts, reader or (lambda: made.instances), small)
