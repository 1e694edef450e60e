"""Instances of many images out as one COCO file, and back in."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from organoseg.core import DataError, Instances, atomic_write
from organoseg.core.coding import mask_to_rle

ORGANOID = {1: "organoid"}


def write_instances(
    path: str | os.PathLike[str],
    items: Iterable[tuple[str, Instances]],
    categories: Mapping[int, str] = ORGANOID,
    ignored: Mapping[str, Instances] | None = None,
) -> None:
    """Write one COCO file for images given as (file name, Instances), one after another, atomically.

    Masks are compressed run lengths, so overlaps survive exactly; score and source are kept beside. COCO wants ids
    that differ within the file: annotations are numbered from 1 in their order, and ``number`` is the organoid's id
    within its image. No more than one image's organoids are held at a time. ``ignored``: regions where nobody looked,
    by file name; written as crowds with "ignore": 1, which `organoseg.dataset.load_coco` reads.

    DataError on a name given twice or a class that `categories` lacks.
    """
    images: dict[str, dict[str, Any]] = {}
    named = [{"id": int(key), "name": name} for key, name in categories.items()]
    written = 0
    with atomic_write(path) as handle:
        handle.write(b'{"annotations": [')
        for name, instances in items:
            if name in images:
                raise DataError("Two images have the same name", where=name, remedy="Rename one")
            height, width = instances.shape
            number = len(images) + 1
            # One name that is no text would make the whole file unreadable: its bytes become codes.
            text = name.encode("utf-8", "backslashreplace").decode("utf-8")
            images[name] = {"id": number, "file_name": text, "height": height, "width": width}
            unknown = sorted(set(instances.classes.tolist()) - set(categories))
            if unknown:
                raise DataError(f"Classes {unknown} have no name among the categories", where=name)
            regions = _annotations(number, (ignored or {}).get(name))
            crowds = ({**row, "iscrowd": 1, "ignore": 1} for row in regions)
            for row in chain(_annotations(number, instances), crowds):
                written += 1
                handle.write(b",\n" if written > 1 else b"\n")
                handle.write(_json({"id": written, **row}))
        handle.write(b'\n],\n"images": [')
        handle.write(b",".join(b"\n" + _json(image) for image in images.values()))
        handle.write(b'\n],\n"categories": ' + _json(named) + b"}\n")


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )


def _annotations(image_id: int, instances: Instances | None) -> Iterator[dict[str, Any]]:
    if instances is None:
        return
    for index, mask in enumerate(instances):
        y0, x0, y1, x1 = mask.box
        yield {
            "number": int(instances.ids[index]),
            "image_id": image_id,
            "category_id": int(instances.classes[index]),
            "segmentation": mask_to_rle(mask, instances.shape),
            "area": int(instances.areas[index]),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": 0,
            "score": float(instances.scores[index]),
            "source": instances.sources[index],
        }


def read_instances(path: str | os.PathLike[str]) -> dict[str, Instances]:
    """Instances by file name from a COCO file with polygons or run lengths.

    Images without organoids are there too. DataError, as `parse_coco_instances` lists them.
    """
    from organoseg.io.coco_json import parse_coco_instances

    return parse_coco_instances(Path(path)).instances
