"""The demo's images: drawn from the seed and written as a user's own would lie there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from organoseg.archive import create_archive_from_images
from organoseg.core import Image, Instances, atomic_write
from organoseg.dataset import LabelledDataset
from organoseg.dataset.synthetic import make_image
from organoseg.demo.plan import DemoPlan
from organoseg.io import write_instances

#: Each part draws from seeds of its own, so that no image is in two parts.
PARTS = {"labelled": 1, "validation": 2, "test": 3, "unlabelled": 4}


@dataclass(frozen=True, eq=False)
class DemoImages:
    """The test images, and the outlines of the unlabelled ones by name.

    The latter are known because the computer drew them. They are written nowhere and no training
    sees them; they tell afterwards how good a teacher's proposals were.
    """

    test: LabelledDataset
    hidden: dict[str, Instances]


def make_data(plan: DemoPlan, out: Path) -> DemoImages:
    """Write ``data/``: a folder of PNG and a COCO file a labelled part, and ``archive.zarr``."""
    data = out / "data"
    data.mkdir()
    for part in ("labelled", "validation"):
        _write(data, part, _draw(plan, part, getattr(plan, part)))
    hidden: dict[str, Instances] = {}
    create_archive_from_images(_unlabelled(plan, hidden), data / "archive.zarr")
    test = _draw(plan, "test", plan.test)
    _write(data, "test", test)
    return DemoImages(test, hidden)


def _draw(plan: DemoPlan, part: str, count: int) -> LabelledDataset:
    return LabelledDataset(
        tuple(
            make_image((plan.seed, PARTS[part], k), plan.spec, name=f"{part}_{k:03d}.png")
            for k in range(count)
        )
    )


def _unlabelled(plan: DemoPlan, hidden: dict[str, Instances]) -> Iterator[Image]:
    """The images one at a time; their outlines go into `hidden`."""
    part = PARTS["unlabelled"]
    for k in range(plan.unlabelled):
        item = make_image((plan.seed, part, k), plan.spec, name=f"unlabelled_{k:03d}.png")
        hidden[item.name] = item.instances
        yield item.image


def _write(data: Path, part: str, dataset: LabelledDataset) -> None:
    from PIL import Image as Picture

    folder = data / part
    folder.mkdir()
    for item in dataset:
        with atomic_write(folder / item.name) as file:
            Picture.fromarray(item.image.plane()).save(file, "PNG")
    write_instances(data / f"{part}.json", [(item.name, item.instances) for item in dataset])
