"""What is measured of each organoid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Image, Instances, Mask
from organoseg.io.shape import form_of

Row = dict[str, Any]

COLUMNS = (
    "image",
    "id",
    "class",
    "score",
    "area_px",
    "area_um2",
    "equivalent_diameter_px",
    "equivalent_diameter_um",
    "feret_px",
    "feret_um",
    "perimeter_px",
    "perimeter_um",
    "circularity",
    "solidity",
    "eccentricity",
    "mean_intensity",
    "y",
    "x",
    "y_um",
    "x_um",
    "overlap_fraction",
    "touches_border",
    "source",
)


def measure(
    instances: Instances, image: Image | None = None, classes: Mapping[int, str] | None = None
) -> list[Row]:
    """One row (a dict with the keys COLUMNS) for each organoid, in their order.

    id: the organoid's number. class: its name in ``classes``, or its number. Columns that end in _um (or _um2) are in
    µm, those in _px in pixels. Area: of the pixels, holes left out. Equivalent diameter: of a disc of the same area.
    Feret: greatest distance across, between pixel corners. Perimeter: Crofton's estimate, with that of holes.
    Circularity: 4 pi area / perimeter^2, at most 1. Solidity: area / area of the convex hull. Eccentricity: of the
    ellipse with the same second moments, 0 for a disc. mean_intensity: mean pixel value under the mask. y, x:
    centroid from the centre of the upper left pixel. overlap_fraction: share of its pixels that other organoids
    cover too. touches_border: whether the image cuts it, so that its size is not its own.

    Values that need ``image`` or its pixel size are None without it. Shapes of pixels that are not square are
    measured as they are in µm.

    DataError when ``image`` has several planes or another size than ``instances``.
    """
    if image is not None and image.shape != instances.shape:
        raise DataError(
            f"Organoids of an image of {instances.shape} do not fit the one of {image.shape}",
            where=image.name or None,
        )
    pixels = None if image is None else image.plane()
    size = None if image is None else image.pixel_size
    overlaps = instances.overlap_fraction()
    rows = []
    for index, mask in enumerate(instances):
        kind = int(instances.classes[index])
        measured: Row = {
            "image": "" if image is None else image.name,
            "id": int(instances.ids[index]),
            "class": kind if classes is None else classes.get(kind, str(kind)),
            "score": float(instances.scores[index]),
            **_geometry(mask, size),
            "mean_intensity": None if pixels is None else _mean(mask, pixels),
            "overlap_fraction": float(overlaps[index]),
            "touches_border": _touches_border(mask, instances.shape),
            "source": instances.sources[index],
        }
        rows.append({column: measured.get(column) for column in COLUMNS})
    return rows


def _geometry(mask: Mask, size: tuple[float, float] | None) -> Row:
    in_px = form_of(mask)
    y, x = mask.centroid
    row: Row = {
        "y": y,
        "x": x,
        "area_px": mask.area,
        "equivalent_diameter_px": in_px.equivalent_diameter,
        "feret_px": in_px.feret,
        "perimeter_px": in_px.perimeter,
    }
    if size is None:
        in_um, known = in_px, False
    else:
        in_um, known = in_px.scaled(size[0]) if size[0] == size[1] else form_of(mask, size), True
        row |= {"y_um": y * size[0], "x_um": x * size[1], "area_um2": in_um.area}
    for name in ("equivalent_diameter", "feret", "perimeter"):
        row[f"{name}_um"] = getattr(in_um, name) if known else None
    for name in ("circularity", "solidity", "eccentricity"):
        row[name] = getattr(in_um, name)
    return row


def _mean(mask: Mask, pixels: NDArray[Any]) -> float:
    y0, x0, y1, x1 = mask.box
    return float(pixels[y0:y1, x0:x1][mask.bits].mean(dtype=np.float64))


def _touches_border(mask: Mask, shape: tuple[int, int]) -> bool:
    y0, x0, y1, x1 = mask.box
    return y0 == 0 or x0 == 0 or y1 == shape[0] or x1 == shape[1]
