"""Which labelling tool wrote a JSON file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from organoseg.core import DataError
from organoseg.core.files import read_json

Kind = Literal["coco", "labelme", "geojson", "boxes", "other", "broken"]

_CORNERS = {"x1", "y1", "x2", "y2"}
_LOOKED_AT = 5


@dataclass(frozen=True)
class JsonFacts:
    """What is kept of a JSON file: thousands of them may hold a copy of their image each. named: LabelMe's image."""

    kind: Kind
    named: str = ""
    trouble: str = ""


def look_at(path: Path) -> JsonFacts:
    """Read a JSON file and tell what it is."""
    try:
        data = read_json(path)
    except DataError as error:
        return JsonFacts("broken", trouble=error.what)
    if isinstance(data, list):
        return JsonFacts("geojson" if _are_features(data) else "other")
    if not isinstance(data, dict):
        return JsonFacts("other")
    if all(isinstance(data.get(key), list) for key in ("images", "annotations")):
        return JsonFacts("coco")
    if isinstance(data.get("shapes"), list):
        named = data.get("imagePath")
        return JsonFacts("labelme", named if isinstance(named, str) else "")
    if data.get("type") in ("FeatureCollection", "Feature"):
        return JsonFacts("geojson")
    boxes = data and all(isinstance(b, dict) and b.keys() >= _CORNERS for b in data.values())
    return JsonFacts("boxes" if boxes else "other")


def _are_features(data: list[Any]) -> bool:
    few = data[:_LOOKED_AT]
    return bool(few) and all(isinstance(e, dict) and e.get("type") == "Feature" for e in few)
