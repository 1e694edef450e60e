"""What is measured of each organoid, and the CSV table of it."""

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from organoseg.core import DataError, Image, Instances, Mask, write_text

Row = dict[str, Any]

COLUMNS = (
    "image",
    "id",
    "y",
    "x",
    "area_px",
    "area_um2",
    "equivalent_diameter_px",
    "equivalent_diameter_um",
    "feret_px",
    "perimeter_px",
    "eccentricity",
    "solidity",
    "circularity",
    "mean_intensity",
    "score",
    "class",
    "overlap_fraction",
    "touches_border",
    "source",
)


def measure(instances: Instances, image: Image | None = None) -> list[Row]:
    """One row (a dict with the keys COLUMNS) for each organoid, in their order.

    y, x: centroid in pixels. Equivalent diameter: of a disc of the same area. Feret: greatest
    distance across, between pixel corners. Perimeter: Crofton's estimate. Eccentricity: of the
    ellipse with the same second moments, 0 for a disc. Solidity: area / area of the convex hull.
    Circularity: 4 pi area / perimeter^2, at most 1. mean_intensity: mean pixel value under the
    mask. Values that need `image` or its pixel size are None without it.

    DataError when `image` has several planes or another size than `instances`.
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
        y0, x0, y1, x1 = mask.box
        under = None if pixels is None else pixels[y0:y1, x0:x1][mask.bits]
        rows.append(
            {
                "image": "" if image is None else image.name,
                "id": int(instances.ids[index]),
                **_shape(mask, size),
                "mean_intensity": None if under is None else float(under.mean(dtype=np.float64)),
                "score": float(instances.scores[index]),
                "class": int(instances.classes[index]),
                "overlap_fraction": float(overlaps[index]),
                "touches_border": _touches_border(mask, instances.shape),
                "source": instances.sources[index],
            }
        )
    return rows


def _touches_border(mask: Mask, shape: tuple[int, int]) -> bool:
    y0, x0, y1, x1 = mask.box
    return y0 == 0 or x0 == 0 or y1 == shape[0] or x1 == shape[1]


def _shape(mask: Mask, pixel_size: tuple[float, float] | None) -> Row:
    from skimage.measure import perimeter_crofton

    area = mask.area
    area_um2 = None if pixel_size is None else area * pixel_size[0] * pixel_size[1]
    y, x = mask.centroid
    feret, convex = _hull(mask)
    perimeter = float(perimeter_crofton(mask.bits, directions=4))  # type: ignore[no-untyped-call]
    return {
        "y": y,
        "x": x,
        "area_px": area,
        "area_um2": area_um2,
        "equivalent_diameter_px": math.sqrt(4 * area / math.pi),
        "equivalent_diameter_um": None if area_um2 is None else math.sqrt(4 * area_um2 / math.pi),
        "feret_px": feret,
        "perimeter_px": perimeter,
        "eccentricity": _eccentricity(mask),
        "solidity": area / convex,
        "circularity": min(1.0, 4 * math.pi * area / perimeter**2),
    }


def _hull(mask: Mask) -> tuple[float, float]:
    """Greatest distance across (pixels) and area (pixels^2) of the convex hull of the corners."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    width = mask.bits.shape[1]
    rows = np.flatnonzero(mask.bits.any(axis=1))
    left = mask.bits[rows].argmax(axis=1)
    right = width - mask.bits[rows, ::-1].argmax(axis=1)
    corners = [(rows + down, side) for down in (0, 1) for side in (left, right)]
    points = np.concatenate([np.stack(pair, axis=1) for pair in corners])
    hull = ConvexHull(points)
    return float(pdist(points[hull.vertices]).max()), float(hull.volume)


def _eccentricity(mask: Mask) -> float:
    rows, columns = np.nonzero(mask.bits)
    # 1/12 is the second moment of a pixel's own square: without it a line would have no width.
    spread = np.cov(np.stack([rows, columns]), bias=True) + np.eye(2) / 12
    small, large = np.linalg.eigvalsh(spread)
    return float(math.sqrt(max(0.0, 1 - small / large)))


def write_measurements(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of `measure` as CSV (RFC 4180, UTF-8) with the columns COLUMNS, atomically.

    None becomes an empty cell. Text that a spreadsheet would run as a formula gets a leading
    apostrophe. DataError on a key that is no column.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        unknown = sorted(set(row) - set(COLUMNS))
        if unknown:
            raise DataError(f"Measurements have no column {', '.join(unknown)}", where=path)
        writer.writerow([_cell(row.get(column)) for column in COLUMNS])
    write_text(path, text.getvalue())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return "'" + value
    return str(value)
