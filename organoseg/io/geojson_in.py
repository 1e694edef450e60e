"""GeoJSON in, as QuPath and organoseg write it: polygons in pixels, one feature an organoid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from organoseg.core import DataError
from organoseg.core.files import read_json
from organoseg.io.drawn import Area, Drawn, Line, Sheet
from organoseg.io.parsing import parse


class _Geometry(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str
    coordinates: Any = None
    plane: dict[str, Any] | None = None


class _Feature(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    geometry: _Geometry | None = None
    properties: dict[str, Any] | None = None


class _Collection(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    features: list[_Feature]


def read_geojson(path: Path) -> Sheet:
    """What was drawn on the image that the file is about.

    Understood are a FeatureCollection, a list of features and a single feature. Points and lines are counted as
    skipped. Raises DataError when it is no GeoJSON, or draws on several planes of a stack.
    """
    data = read_json(path)
    if isinstance(data, list):
        data = {"features": data}
    elif isinstance(data, dict) and data.get("type") == "Feature":
        data = {"features": [data]}
    features = parse(_Collection, data, path, "GeoJSON").features
    planes = {tuple(sorted((k, str(v)) for k, v in (f.geometry.plane or {}).items()))
              for f in features if f.geometry is not None}  # fmt: skip
    if len(planes) > 1:
        raise DataError(
            "The outlines lie on several planes of a stack",
            where=path,
            remedy="Export one plane, with its image, at a time.",
        )
    drawn: list[Drawn] = []
    skipped: dict[str, int] = {}
    for number, feature in enumerate(features, start=1):
        kind = feature.geometry.type if feature.geometry else "nothing"
        if feature.geometry is None or kind not in ("Polygon", "MultiPolygon"):
            skipped[kind] = skipped.get(kind, 0) + 1
            continue
        who, label = f"feature {number}", _class_of(feature.properties or {})
        try:
            drawn.append(Drawn(who, _area(feature.geometry), label))
        except (ValueError, TypeError):
            fault = "coordinates that are not numbers"
            drawn.append(Drawn(who, Area(()), label, fault=fault))
    return Sheet(tuple(drawn), None, skipped)


def _class_of(properties: dict[str, Any]) -> str:
    found = properties.get("classification")
    if not isinstance(found, dict):
        return ""
    if isinstance(found.get("names"), list):  # QuPath's derived classes
        return ": ".join(map(str, found["names"]))
    return str(found.get("name") or "")


def _area(geometry: _Geometry) -> Area:
    parts = [geometry.coordinates] if geometry.type == "Polygon" else geometry.coordinates
    return Area(tuple(tuple(_line(ring) for ring in part) for part in parts))


def _line(ring: Any) -> Line:
    points = np.array([[float(point[1]), float(point[0])] for point in ring], np.float64)
    return points.reshape(-1, 2)
