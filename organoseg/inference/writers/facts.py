"""What the joint files need to know of a picture, taken while its pixels are in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from organoseg.inference.result import Result
from organoseg.io import measure


def facts_of(result: Result) -> dict[str, Any]:
    """Plain values for JSON: what is known of the picture, and a row of measurements an organoid.

    Keys: key, fields, warnings, pixel_size ([y, x] in µm or None), shape ([H, W]), identity (hash of the pixels),
    count, rows (dicts with the columns of ``io.measure``, whose ``image`` is the key).
    """
    image = result.image
    rows = measure(result.instances, image, result.classes)
    return {
        "key": result.key,
        "fields": dict(result.fields),
        "warnings": list(result.warnings),
        "pixel_size": None if image.pixel_size is None else [float(s) for s in image.pixel_size],
        "shape": list(image.shape),
        "identity": image.identity,
        "count": len(result.instances),
        "rows": [{k: _plain(v) for k, v in {**row, "image": result.key}.items()} for row in rows],
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
