"""What the joint files need to know of a picture, taken while its pixels are in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from organoseg.inference.result import Result
from organoseg.io import measure
from organoseg.io.label_tiff import hidden_in

HIDDEN = (
    "Some organoids lie wholly under others: a label image cannot show them. They are in the table, on the overlay and "
    "in all other files."
)


def facts_of(result: Result) -> dict[str, Any]:
    """Plain values for JSON: what is known of the picture, and a row of measurements an organoid.

    Keys: key, fields, warnings (the result's, and one where a
    label image hides organoids), pixel_size ([y, x] in µm or None), shape ([H, W]), identity (hash of the pixels),
    count, rows (dicts with the columns of ``io.measure``, whose ``image`` is the key).
    """
    image = result.image
    rows = measure(result.instances, image, result.classes)
    return {
        "key": result.key,
        "fields": dict(result.fields),
        "warnings": [*result.warnings, *([HIDDEN] if _hides(result, rows) else [])],
        "pixel_size": None if image.pixel_size is None else [float(s) for s in image.pixel_size],
        "shape": list(image.shape),
        "identity": image.identity,
        "count": len(result.instances),
        "rows": [{k: _plain(v) for k, v in {**row, "image": result.key}.items()} for row in rows],
    }


def _hides(result: Result, rows: Sequence[Mapping[str, Any]]) -> bool:
    # Only one that is covered all over can be hidden: most pictures need not be rendered to know.
    if all(row["overlap_fraction"] < 1 for row in rows):
        return False
    return bool(hidden_in(result.instances, result.instances.render()))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
