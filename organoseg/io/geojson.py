"""GeoJSON out, as QuPath reads it: one feature an organoid, its outline exact."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from organoseg.core import Instances, write_text
from organoseg.core.outlines import Part, Ring, outlines


def write_geojson(
    path: str | os.PathLike[str],
    instances: Instances,
    classes: Mapping[int, str] | None = None,
    image: str = "",
) -> None:
    """Write the organoids as a GeoJSON FeatureCollection in pixels, atomically.

    The corner of the upper left pixel is (0, 0), x first, as QuPath has it. Holes are interior rings; an organoid of
    several pieces is a MultiPolygon. Each feature is named by the organoid's number; ``image`` makes its id unique
    among images.
    """
    names = classes or {}
    lines = [json.dumps(_feature(instances, i, names, image)) for i in range(len(instances))]
    # One feature a line: a person can read it, and 100,000 of them are written without a copy.
    write_text(path, '{"type": "FeatureCollection", "features": [\n' + ",\n".join(lines) + "\n]}\n")


def _feature(
    instances: Instances, index: int, classes: Mapping[int, str], image: str
) -> dict[str, Any]:
    number, kind = int(instances.ids[index]), int(instances.classes[index])
    name = classes.get(kind, str(kind))
    return {
        "type": "Feature",
        "id": str(uuid5(NAMESPACE_URL, f"organoseg:{image}#{number}")),
        "geometry": _geometry(outlines(instances.masks[index])),
        "properties": {
            "objectType": "annotation",
            "name": str(number),
            "classification": {"name": name, "color": _colour(name)},
            "measurements": {
                "Score": round(float(instances.scores[index]), 4),
                "Area px^2": int(instances.areas[index]),
            },
        },
    }


def _geometry(parts: tuple[Part, ...]) -> dict[str, Any]:
    polygons = [[_closed(ring) for ring in (part.outer, *part.holes)] for part in parts]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _closed(ring: Ring) -> list[list[int]]:
    # Clockwise on the screen is what RFC 7946 calls anticlockwise, because y points down here.
    points: list[list[int]] = ring[:, ::-1].tolist()
    return [*points, points[0]]


def _colour(name: str) -> list[int]:
    """The same colour for the same class in every file."""
    return [64 + byte // 2 for byte in uuid5(NAMESPACE_URL, name).bytes[:3]]
