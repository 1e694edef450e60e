"""A data set and a recipe so small that a whole guided run takes seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image as Pillow

from organoseg.dataset.labelled import LabelledImage
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.io import write_instances

SPEC = SyntheticSpec(size=96, count=(3, 5), radius=(8, 20))
LABELLED, VALIDATION, ARCHIVE = range(3), range(3, 5), range(5, 10)


def save_png(item: LabelledImage, folder: Path) -> None:
    """One image as an 8-bit PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(item.image.pixels).save(folder / item.name)


def write_set(numbers: Sequence[int], annotations: Path, images: Path) -> list[LabelledImage]:
    """Images of these numbers and a COCO file of their organoids."""
    items = [make_image(n, SPEC, name=f"image_{n}.png") for n in numbers]
    for item in items:
        save_png(item, images)
    write_instances(annotations, [(item.name, item.instances) for item in items])
    return items


def write_data(folder: Path) -> Path:
    """labelled.json, validation.json, images/ and archive/ in ``folder``."""
    write_set(LABELLED, folder / "labelled.json", folder / "images")
    write_set(VALIDATION, folder / "validation.json", folder / "images")
    for n in ARCHIVE:
        save_png(make_image(n, SPEC, name=f"image_{n}.png"), folder / "archive")
    return folder


def recipe(data: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """16 steps in all four stages, with pools of pseudo-labels, a calibration and a running average."""
    tree: dict[str, Any] = {
        "data": {
            "labelled": {"annotations": str(data / "labelled.json"), "images": str(data / "images")},
            "validation": {
                "annotations": str(data / "validation.json"),
                "images": str(data / "images"),
            },
            "unlabelled": str(data / "archive"),
        },
        "model": {"encoder_weights": None, "options": {"width": 16, "max_instances": 20}},
        "method": {
            "name": "guided", "teacher_steps": 4, "burn_in": 0.5, "refine": 0.25, "half_life": 3,
            "unlabelled_batch": 1, "pool": 3, "pool_zooms": [1.0, 1.2], "guard": False,
            "if_nothing": "go_on",  # nobody finds anything after four steps
        },
        "training": {
            "steps": 12, "batch": 1, "warmup": 2, "half_life": 3, "validate_every": 6,
            "checkpoint_every": 2, "device": "cpu", "threads": 1, "augmentation": {"crop": 64},
        },
    }  # fmt: skip
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values}
    return tree


def write_recipe(path: Path, tree: dict[str, Any]) -> Path:
    """The recipe as a YAML file."""
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path
