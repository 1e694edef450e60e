"""Writers of a Labels layer that keep what napari's own lose: pixel size, scores, and masks that overlap."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from organoseg.core import DataError, write_text

from .conversion import KEY, instances_of, pixel_size


def write_instances_json(path: str | Path, data: Any, state: dict[str, Any]) -> list[str]:
    """All organoids as COCO: whole masks, scores, classes and who drew each; returns the path written.

    A layer that was made by organoseg keeps its overlaps; in another, a pixel has one organoid. DataError on
    labels that are not whole numbers from 0.
    """
    from organoseg.io import write_instances

    parts = instances_of(_whole(data, state), state)
    names = ((state.get("metadata") or {}).get(KEY) or {}).get("names") or ()
    stem = str(state.get("name") or "image")
    if len(names) != len(parts):
        width = len(str(len(parts)))
        names = [stem] if len(parts) == 1 else [f"{stem}_{n:0{width}d}" for n in range(len(parts))]
    classes = {int(c) for part in parts for c in part.classes}
    known = {1: "organoid"} | {c: f"class {c}" for c in sorted(classes - {1})}
    write_instances(path, list(zip(names, parts, strict=True)), known)
    return [str(path)]


def write_label_tiff(path: str | Path, data: Any, state: dict[str, Any]) -> list[str]:
    """A label TIFF with pixel size that ImageJ reads, and a table (CSV) of the scores beside it.

    DataError on labels that are not whole numbers from 0.
    """
    from organoseg.io.label_tiff import write_label_image

    labels = _whole(data, state)
    path = Path(path)
    wide = bool(labels.size) and int(labels.max()) > np.iinfo(np.uint16).max
    size = pixel_size(state.get("scale") or (1.0, 1.0), state.get("units"))
    flat = labels.reshape(-1, *labels.shape[-2:]) if labels.ndim > 2 else labels
    write_label_image(path, flat, size, wide)
    return [str(path), *_table_beside(path, state)]


def write_ome_zarr(path: str | Path, data: Any, state: dict[str, Any]) -> list[str]:
    """An OME-Zarr 0.5 label image with scale, unit and a row of properties an organoid.

    UsageError when there is something of this name; DataError on labels that are not whole numbers from 0.
    """
    from . import ome_zarr

    labels = _whole(data, state)
    ndim = labels.ndim
    given = [str(a).lower() for a in state.get("axis_labels") or ()]
    fine = len(given) == ndim and len(set(given)) == ndim and set(given) <= set("tczyx")
    axes = given if fine else list("tczyx"[-ndim:]) if ndim != 3 else ["t", "y", "x"]
    units = [str(u) for u in state.get("units") or ()]
    named = [u if u != "pixel" else None for u in units] if len(units) == ndim else [None] * ndim
    scale = [float(s) for s in state.get("scale") or (1.0,) * ndim]
    shift = state.get("translate")
    ome_zarr.write_labels(
        Path(path),
        labels,
        axes,
        scale,
        named,
        [{"label-value": int(r.pop("index")), **r} for r in _rows(state)],
        None if shift is None else [float(t) for t in shift],
    )
    return [str(path)]


def _whole(data: Any, state: dict[str, Any]) -> Any:
    if isinstance(data, list | tuple) or state.get("multiscale"):
        data = data[0]
    labels = np.asarray(data)
    if labels.dtype.kind not in "biu" or (labels.size and labels.min() < 0):
        raise DataError(
            f"Labels must be whole numbers from 0, not {labels.dtype}", where=state.get("name")
        )
    return labels


def _rows(state: dict[str, Any]) -> list[dict[str, Any]]:
    features = state.get("features")
    if features is None or not len(features) or "index" not in features:
        return []
    rows = [{k: _plain(v) for k, v in row.items()} for row in features.to_dict("records")]
    return [row for row in rows if isinstance(row["index"], int) and row["index"] > 0]


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, int | float | str | bool | type(None)) else str(value)


def _table_beside(path: Path, state: dict[str, Any]) -> list[str]:
    rows = _rows(state)
    if not rows:
        return []
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    # A cell that begins like a formula would be run by a spreadsheet.
    writer.writerows(
        {k: f"'{v}" if isinstance(v, str) and v[:1] in "=+-@" and v else v for k, v in r.items()}
        for r in rows
    )
    table = path.with_suffix(".csv")
    write_text(table, text.getvalue())
    return [str(table)]
