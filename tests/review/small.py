"""Small review projects on disk, made in milliseconds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import tifffile

from organoseg.core import Instances, Mask
from organoseg.io import write_instances
from organoseg.review import Project, create_project

SIDE = 64


def square(y: int, x: int, size: int = 12) -> Mask:
    """A filled square."""
    return Mask(y, x, np.ones((size, size), bool))


def make_images(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Noise as TIFF files i0.tif, i1.tif, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = [folder / f"i{number}.tif" for number in range(count)]
    for path in paths:
        tifffile.imwrite(path, rng.integers(0, 255, (SIDE, SIDE), dtype=np.uint8))
    return paths


def make_predictions(path: Path, count: int, organoids: int = 4) -> Path:
    """An instances.json with ``organoids`` squares an image; ids run through the file as `predict` writes them."""
    pairs, first = [], 1
    for number in range(count):
        masks = [square(2 + 14 * i, 3 + 14 * ((i + number) % 4)) for i in range(organoids)]
        scores = [0.9 - 0.1 * i for i in range(organoids)]
        ids = range(first, first + organoids)
        found = Instances.from_masks(
            (SIDE, SIDE), masks, scores=scores, ids=list(ids), sources=["model:m@1"] * organoids
        )
        pairs.append((f"i{number}.tif", found))
        first += organoids
    write_instances(path, pairs)
    return path


def make_project(folder: Path, count: int = 3, organoids: int = 4, **options: object) -> Project:
    """A project in folder/P over images in folder/images."""
    make_images(folder / "images", count)
    predictions = make_predictions(folder / "instances.json", count, organoids)
    return create_project(
        folder / "P",
        [folder / "images"],
        predictions=predictions,
        **options,  # type: ignore[arg-type]
    )


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
