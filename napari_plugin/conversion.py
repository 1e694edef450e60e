"""Between napari's layers and Image and Instances. Overlaps are kept: they ride in the layer's metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Image, Instances, Mask

if TYPE_CHECKING:
    import pandas as pd

LayerData = tuple[Any, dict[str, Any], str]
KEY = "organoseg"
_PER_UM = {"micrometer": 1.0, "micron": 1.0, "um": 1.0, "µm": 1.0, "nanometer": 1e-3, "nm": 1e-3}
_PER_UM |= {"millimeter": 1e3, "mm": 1e3}


def pixel_size(scale: Sequence[float], units: Any) -> tuple[float, float] | None:
    """Height and width of a pixel in µm from a layer's scale and units; None where the unit is no length."""
    if units is None:
        return None
    names = [units, units] if isinstance(units, str) else [str(u) for u in units][-2:]
    factors = [_PER_UM.get(name) for name in names]
    if len(factors) != 2 or factors[0] is None or factors[1] is None:
        return None
    y, x = float(scale[-2]) * factors[0], float(scale[-1]) * factors[1]
    return (y, x) if y > 0 and x > 0 else None


def planes(data: Any, name: str, rgb: bool = False, multiscale: bool = False) -> list[Any]:
    """The planes (H, W), or (H, W, 3) for colour, of a layer's data, first axes first, not yet read.

    ``data`` may be an array, a dask or zarr array, or levels of them, of which the largest is taken. DataError when
    there is no plane.
    """
    if multiscale:
        data = data[0]
    shape = tuple(data.shape)
    leading = shape[:-3] if rgb else shape[:-2]
    if len(shape) < (3 if rgb else 2) or 0 in shape:
        raise DataError("This layer has no plane to segment", where=name)
    return [data[index] for index in np.ndindex(*leading)]


def as_image(plane: Any, size: tuple[float, float] | None, name: str) -> Image:
    """One plane as an Image; colour becomes grey, whole numbers become uint8 or uint16 where they fit."""
    pixels = np.asarray(plane)
    if pixels.ndim == 3:
        pixels = pixels[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if pixels.dtype.kind in "bui" and pixels.dtype not in (np.uint8, np.uint16):
        low, high = int(pixels.min()), int(pixels.max())
        small = low >= 0 and high <= np.iinfo(np.uint16).max
        pixels = pixels.astype(
            np.uint8 if pixels.dtype == bool else np.uint16 if small else np.float32
        )
    elif pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32, copy=False)
    return Image(pixels, pixel_size=size, name=name)


def table(found: Sequence[Instances]) -> pd.DataFrame:
    """One row an organoid, by the column ``index`` that napari looks labels up in."""
    import pandas as pd

    rows = [
        {
            "index": number,
            "plane": place,
            "score": round(float(score), 4),
            "area_px": int(area),
            "class": int(kind),
            "overlap": round(float(overlap), 3),
            "source": source,
        }
        for place, part in enumerate(found)
        for number, score, area, kind, overlap, source in zip(
            part.ids.tolist(),
            part.scores,
            part.areas,
            part.classes,
            part.overlap_fraction(),
            part.sources,
            strict=True,
        )
    ]
    columns = ["index", "plane", "score", "area_px", "class", "overlap", "source"]
    return pd.DataFrame(rows, columns=columns)


def numbered(found: Sequence[Instances]) -> list[Instances]:
    """The same with ids that differ over all planes: a label layer has one table for the whole stack."""
    if len(found) == 1:
        return list(found)
    renumbered, last = [], 0
    for part in found:
        renumbered.append(part.replace(ids=np.arange(last + 1, last + 1 + len(part))))
        last += len(part)
    return renumbered


def labels_layer(
    found: Sequence[Instances],
    name: str,
    leading: tuple[int, ...] = (),
    names: Sequence[str] = (),
    **spatial: Any,
) -> LayerData:
    """A Labels layer of the organoids of the planes of one image.

    Where organoids overlap, the layer shows the one with the higher score; the whole masks are in its metadata and
    are what is written to files. ``leading``: the shape before (H, W); ``names``: the file name of each plane.
    """
    parts = numbered(found)
    shown = np.stack([part.render("score") for part in parts]).astype(np.int32)
    facts = {KEY: {"instances": tuple(parts), "names": tuple(names)}}
    state = {"name": name, "features": table(parts), "metadata": facts, **spatial}
    return shown.reshape((*leading, *parts[0].shape)), state, "labels"


def instances_of(data: NDArray[Any], state: dict[str, Any]) -> list[Instances]:
    """The organoids of each plane of a Labels layer.

    An organoid that looks as it did when the layer was made keeps its whole mask, also where others cover it; one
    that was painted is what is painted. DataError on labels that are not whole numbers from 0.
    """
    facts = (state.get("metadata") or {}).get(KEY) or {}
    known = facts.get("instances") or ()
    flat = np.asarray(data).reshape(-1, *data.shape[-2:])
    if len(known) != len(flat) or any(k.shape != flat.shape[1:] for k in known):
        return _scored(flat, state)
    return [_edited(plane, before) for plane, before in zip(flat, known, strict=True)]


def _scored(flat: NDArray[Any], state: dict[str, Any]) -> list[Instances]:
    """From a layer of another maker: score and class from its table, where it has them."""
    features = state.get("features")
    rows: dict[int, dict[str, Any]] = {}
    if features is not None and len(features) and "index" in features:
        rows = {int(row["index"]): row for row in features.to_dict("records")}
    parts = [Instances.from_labels(plane) for plane in flat]
    for place, part in enumerate(parts):
        known = [rows.get(int(number), {}) for number in part.ids]
        parts[place] = part.replace(
            scores=np.array([_number(r.get("score"), 1.0) for r in known], np.float32),
            classes=np.array([int(_number(r.get("class"), 1.0)) for r in known], np.int32),
            sources=tuple(str(r.get("source", "")) for r in known),
        )
    return parts


def _number(value: Any, default: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    return number if np.isfinite(number) else default


def _edited(plane: NDArray[Any], before: Instances) -> Instances:
    """A pixel that was painted belongs to whom it was given; what lay hidden under others stays where it was."""
    shown = before.render("score")
    changed = shown != plane
    if not changed.any():
        return before
    painted = Instances.from_labels(plane)
    now = dict(zip(painted.ids.tolist(), painted.masks, strict=True))
    rows = {int(number): row for row, number in enumerate(before.ids)}
    touched = set(np.unique(shown[changed]).tolist()) | set(np.unique(plane[changed]).tolist())
    masks: dict[int, Mask | None] = {}
    for number in sorted({*rows, *now}):
        if number not in touched:
            masks[number] = before.masks[rows[number]]
        elif number in now:
            old = before.masks[rows[number]] if number in rows else None
            masks[number] = _with_hidden(now[number], old, shown, number)
    kept = list(masks)
    old_rows = [rows.get(number) for number in kept]
    return Instances.from_masks(
        before.shape,
        list(masks.values()),
        scores=[1.0 if r is None else float(before.scores[r]) for r in old_rows],
        classes=[1 if r is None else int(before.classes[r]) for r in old_rows],
        ids=kept,
        sources=[
            "human" if r is None else before.sources[r] + " edited" * (number in touched)
            for number, r in zip(kept, old_rows, strict=True)
        ],
    )


def _with_hidden(visible: Mask, old: Mask | None, shown: NDArray[Any], number: int) -> Mask | None:
    if old is None:
        return visible
    y0, x0, y1, x1 = old.box
    hidden = old.bits & (shown[y0:y1, x0:x1] != number)
    bits = np.zeros(shown.shape, bool)
    bits[y0:y1, x0:x1] = hidden
    y0, x0, y1, x1 = visible.box
    bits[y0:y1, x0:x1] |= visible.bits
    return Mask.from_bits(bits)
