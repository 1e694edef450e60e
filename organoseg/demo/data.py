"""The demo's images: drawn from the seed and written as a user's own would lie there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from organoseg.archive import create_archive_from_images
from organoseg.core import Image, atomic_write
from organoseg.dataset import LabelledDataset
from organoseg.dataset.synthetic import make_image
from organoseg.demo.plan import DemoPlan
from organoseg.io import write_instances

#: Each part draws from seeds of its own, so that no image is in two parts.
PARTS = {"labelled": 1, "validation": 2, "test": 3, "unlabelled": 4}


def make_data(plan: DemoPlan, out: Path) -> LabelledDataset:
    """Write ``data/``: a folder of PNG and a COCO file a labelled part, and ``archive.zarr``.

    Returns the test images.
    """
    data = out / "data"
    data.mkdir()
    for part in ("labelled", "validation"):
        _write(data, part, _draw(plan, part, getattr(plan, part)))
    create_archive_from_images(_unlabelled(plan), data / "archive.zarr")
    test = _draw(plan, "test", plan.test)
    _write(data, "test", test)
    return test


def _draw(plan: DemoPlan, part: str, count: int) -> LabelledDataset:
    return LabelledDataset(
        tuple(
            make_image((plan.seed, PARTS[part], k), plan.spec, name=f"{part}_{k:03d}.png")
            for k in range(count)
        )
    )


def _unlabelled(plan: DemoPlan) -> Iterator[Image]:
    part = PARTS["unlabelled"]
    for k in range(plan.unlabelled):
        yield make_image((plan.seed, part, k), plan.spec, name=f"unlabelled_{k:03d}.png").image


def _write(data: Path, part: str, dataset: LabelledDataset) -> None:
    from PIL import Image as Picture

    folder = data / part
    folder.mkdir()
    for item in dataset:
        with atomic_write(folder / item.name) as file:
            Picture.fromarray(item.image.plane()).save(file, "PNG")
    write_instances(data / f"{part}.json", [(item.name, item.instances) for item in dataset])
