"""Instances of many images out as one COCO file, and back in."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from organoseg.core import DataError, Instances, write_json

ORGANOID = {1: "organoid"}


def write_instances(
    path: str | os.PathLike[str],
    items: Iterable[tuple[str, Instances]],
    categories: Mapping[int, str] = ORGANOID,
    ignored: Mapping[str, Instances] | None = None,
) -> None:
    """Write one COCO file for images given as (file name, Instances), atomically.

    Masks are compressed run lengths, so overlaps survive exactly; score and source are kept beside.
    An organoid keeps its id where all ids of the file differ, else all are numbered anew from 1.
    ``ignored``: regions where nobody looked, by file name; written as crowds with "ignore": 1, which
    `organoseg.dataset.load_coco` reads.

    DataError on a name given twice or a class that `categories` lacks.
    """
    pairs = list(items)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, (name, instances) in enumerate(pairs, start=1):
        if name in seen:
            raise DataError("Two images have the same name", where=name, remedy="Rename one")
        seen.add(name)
        height, width = instances.shape
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        unknown = sorted(set(instances.classes.tolist()) - set(categories))
        if unknown:
            raise DataError(f"Classes {unknown} have no name among the categories", where=name)
        annotations += _annotations(number, instances)
        if ignored is not None and name in ignored:
            regions = _annotations(number, ignored[name])
            annotations += [{**entry, "iscrowd": 1, "ignore": 1} for entry in regions]
    if len({entry["id"] for entry in annotations}) < len(annotations):
        for number, entry in enumerate(annotations, start=1):
            entry["id"] = number
    named = [{"id": int(key), "name": name} for key, name in categories.items()]
    data = {"images": images, "annotations": annotations, "categories": named}
    write_json(path, data, indent=None)


def _annotations(image_id: int, instances: Instances) -> list[dict[str, Any]]:
    rows = []
    for index, rle in enumerate(instances.to_rles()):
        y0, x0, y1, x1 = instances.boxes[index].tolist()
        rows.append(
            {
                "id": int(instances.ids[index]),
                "image_id": image_id,
                "category_id": int(instances.classes[index]),
                "segmentation": rle,
                "area": int(instances.areas[index]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                "score": float(instances.scores[index]),
                "source": instances.sources[index],
            }
        )
    return rows


def read_instances(path: str | os.PathLike[str]) -> dict[str, Instances]:
    """Instances by file name from a COCO file with polygons or run lengths.

    Images without organoids are there too. DataError, as `parse_coco_instances` lists them.
    """
    from organoseg.io.coco_json import parse_coco_instances

    return parse_coco_instances(Path(path)).instances
