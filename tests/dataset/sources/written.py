"""Small sources as labelling tools leave them: images of noise, and three organoids, two of which overlap."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from organoseg.core import Instances, Mask
from organoseg.dataset import load_coco
from organoseg.dataset.labelled import LabelledDataset

SIZE = (24, 32)
#: (y0, x0, y1, x1); the first two overlap.
BOXES = ((2, 3, 10, 12), (6, 8, 16, 20), (17, 24, 22, 30))


def image(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> Path:
    """An image of noise that no other seed has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, size, dtype=np.uint8)
    Picture.fromarray(pixels).save(path)
    return path


def rectangle(box: Sequence[int]) -> Mask:
    """Every pixel of a box."""
    y0, x0, y1, x1 = box
    return Mask(y0, x0, np.ones((y1 - y0, x1 - x0), np.bool_))


def organoids(boxes: Sequence[Sequence[int]] = BOXES) -> Instances:
    """The three."""
    return Instances.from_masks(SIZE, [rectangle(box) for box in boxes])


def corners(box: Sequence[int]) -> list[list[float]]:
    """(x, y) of the four."""
    y0, x0, y1, x1 = (float(v) for v in box)
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def label_image(path: Path, labels: NDArray[Any] | None = None) -> Path:
    """Organoids as numbers; what two cover belongs to the later one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if labels is None:
        labels = np.zeros(SIZE, np.uint16)
        for number, (y0, x0, y1, x1) in enumerate(BOXES, start=1):
            labels[y0:y1, x0:x1] = number
    Picture.fromarray(labels).save(path)
    return path


def coco(path: Path, *names: str, **more: Any) -> Path:
    """A COCO file in which every image has the three, as polygons; ``more`` replaces its parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [
        {"id": n, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
        for n, name in enumerate(names, start=1)
    ]
    annotations = [
        {
            "id": 10 * n + k,
            "image_id": n,
            "category_id": 1,
            "segmentation": [[v for corner in corners(box) for v in corner]],
            "bbox": [box[1], box[0], box[3] - box[1], box[2] - box[0]],
            "area": 1,
            "iscrowd": 0,
        }
        for n in range(1, len(names) + 1)
        for k, box in enumerate(BOXES)
    ]
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "organoid"}],
        **more,
    }
    path.write_text(json.dumps(document))
    return path


def labelme(path: Path, named: str, shapes: Sequence[dict[str, Any]] | None = None) -> Path:
    """A LabelMe file with the three as polygons."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if shapes is None:
        shapes = [
            {"label": "organoid", "points": corners(box), "shape_type": "polygon", "group_id": None}
            for box in BOXES
        ]
    document = {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": named,
        "imageData": None,
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
    }
    path.write_text(json.dumps(document))
    return path


def cvat(path: Path, *names: str) -> Path:
    """A CVAT file with the three as polygons on every image."""
    polygons = "".join(
        f'<polygon label="organoid" points="{";".join(f"{x},{y}" for x, y in corners(box))}" />'
        for box in BOXES
    )
    images = "".join(
        f'<image id="{n}" name="{name}" width="{SIZE[1]}" height="{SIZE[0]}">{polygons}</image>'
        for n, name in enumerate(names)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<?xml version="1.0"?><annotations><meta/>{images}</annotations>')
    return path


def cellpose(path: Path) -> Path:
    """A Cellpose file with the three in one label image, the second drawn by a person."""
    labels = np.zeros(SIZE, np.uint16)
    for number, (y0, x0, y1, x1) in enumerate(BOXES, start=1):
        labels[y0:y1, x0:x1] = number
    tree = {"filename": "x", "masks": labels, "ismanual": np.array([False, True, False])}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(tree, dtype=object), allow_pickle=True)
    return path


def zipped(folder: Path, path: Path, top: str = "") -> Path:
    """A folder as a zip, below the folder ``top`` in it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                bundle.write(file, f"{top}{file.relative_to(folder).as_posix()}")
    return path


def loaded(out: Path, side: str | None = None) -> LabelledDataset:
    """The data set as training reads it."""
    names = json.loads((out / "subsets.json").read_text())[side] if side else None
    return load_coco(out / "labels.json", out / "images", names)
