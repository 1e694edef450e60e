"""Label images in OME-Zarr: read from versions 0.4 and 0.5, written as 0.5 with checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, UsageError
from organoseg.core.folders import atomic_folder

from .conversion import LayerData

#: Levels are made until the larger side is at most this, in px.
_SMALLEST = 512
_CHUNK = 512
#: A label image is copied to memory whole; a larger one is for other tools.
MOST_BYTES = 8 << 30


def attributes(folder: Path) -> dict[str, Any]:
    """The OME attributes of a zarr group (v3: under ``ome``; v2: at the top); empty where there are none."""
    for file in (folder / "zarr.json", folder / ".zattrs"):
        try:
            found = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and file.name == "zarr.json":
            found = found.get("attributes") or {}
            found = found.get("ome") or found if isinstance(found, dict) else {}
        return found if isinstance(found, dict) else {}
    return {}


def label_groups(folder: Path) -> list[Path]:
    """The label images of an OME-Zarr image, or the folder itself where it is one."""
    if "image-label" in attributes(folder):
        return [folder]
    names = attributes(folder / "labels").get("labels")
    if not isinstance(names, list):
        return []
    root = (folder / "labels").resolve()
    paths = [folder / "labels" / str(name) for name in names]
    return [p for p in paths if p.resolve().is_relative_to(root) and p.is_dir()]


def layers(folder: Path) -> list[LayerData]:
    """The image (lazily, all levels) and its labels (copies of the largest level)."""
    found: list[LayerData] = []
    if attributes(folder).get("multiscales") and "image-label" not in attributes(folder):
        levels, state = _levels(folder)
        state = _without_channel(levels[0].ndim, folder, state)
        several = {"multiscale": True} if len(levels) > 1 else {}
        data: Any = levels if several else levels[0]
        found.append((data, {"name": folder.name, **state, **several}, "image"))
    for group in label_groups(folder):
        levels, state = _levels(group)
        if int(np.prod(levels[0].shape)) * levels[0].dtype.itemsize > MOST_BYTES:
            raise DataError(
                f"The label image is larger than {MOST_BYTES >> 30} GiB",
                where=group,
                remedy="Cut out the part that you want to look at",
            )
        data = _whole(levels[0], group)
        name = folder.name if group == folder else f"{folder.name} {group.name}"
        found.append((data, {"name": name, "features": _features(group), **state}, "labels"))
    return found


def _whole(array: Any, group: Path) -> NDArray[Any]:
    try:
        data = np.asarray(array[...])
    except Exception as error:
        raise DataError(f"The label image cannot be read: {error}", where=group) from error
    if data.dtype.kind not in "iu":
        raise DataError(f"Labels are whole numbers, not {data.dtype}", where=group)
    return data


def _levels(folder: Path) -> tuple[list[Any], dict[str, Any]]:
    import zarr

    try:
        scales = attributes(folder)["multiscales"][0]
        axes = [a if isinstance(a, str) else a["name"] for a in scales["axes"]]
        units = [None if isinstance(a, str) else a.get("unit") for a in scales["axes"]]
        steps = scales["datasets"][0].get("coordinateTransformations") or []
        known = {step["type"]: step.get(step["type"]) for step in steps}
        paths = [str(d["path"]) for d in scales["datasets"]]
        arrays = [zarr.open_array(str(folder / path), mode="r") for path in paths]
    except Exception as error:
        raise DataError(
            f"The OME-Zarr metadata cannot be read: {type(error).__name__}: {error}", where=folder
        ) from error
    ndim = len(axes)
    state: dict[str, Any] = {"axis_labels": tuple(axes), "metadata": {}}
    if isinstance(known.get("scale"), list) and len(known["scale"]) == ndim:
        state["scale"] = tuple(float(s) for s in known["scale"])
    if isinstance(known.get("translation"), list) and len(known["translation"]) == ndim:
        state["translate"] = tuple(float(t) for t in known["translation"])
    state["units"] = tuple(unit or "pixel" for unit in units)
    return arrays, state


def _without_channel(ndim: int, folder: Path, state: dict[str, Any]) -> dict[str, Any]:
    """The state of an image whose channels become layers: they have no scale, unit or label."""
    axes = list(state["axis_labels"])
    if "c" not in axes or len(axes) != ndim:
        return state
    c = axes.index("c")
    cut: dict[str, Any] = {
        key: (*state[key][:c], *state[key][c + 1 :])
        for key in ("axis_labels", "scale", "translate", "units")
        if key in state
    }
    return {**state, **cut, "channel_axis": c}


def _features(group: Path) -> Any:
    import pandas as pd

    rows = (attributes(group).get("image-label") or {}).get("properties") or []
    good = [r for r in rows if isinstance(r, dict) and isinstance(r.get("label-value"), int)]
    return pd.DataFrame([{"index": r["label-value"], **_without(r, "label-value")} for r in good])


def _without(row: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != key}


def write_labels(
    path: Path,
    labels: NDArray[Any],
    axes: Sequence[str],
    scale: Sequence[float],
    units: Sequence[str | None],
    rows: Sequence[Mapping[str, Any]],
    translation: Sequence[float] | None = None,
) -> None:
    """A label image (..., H, W) as an OME-Zarr 0.5 group of its own, with its pyramid and a row an organoid.

    It appears under its name when it is whole. UsageError when there is something already; RunError when the disk
    does not take it.
    """
    if path.exists():
        raise UsageError(
            "There is something of this name already, and nothing is written over",
            where=path,
            remedy="Choose another name",
        )
    with atomic_folder(path) as partial:
        _write(partial, path.stem, labels, axes, scale, units, rows, translation)


def _write(
    folder: Path,
    name: str,
    labels: NDArray[Any],
    axes: Sequence[str],
    scale: Sequence[float],
    units: Sequence[str | None],
    rows: Sequence[Mapping[str, Any]],
    translation: Sequence[float] | None,
) -> None:
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    wide = labels.size and int(labels.max()) > np.iinfo(np.uint16).max
    level = labels.astype(np.uint32 if wide else np.uint16)
    group = zarr.create_group(folder, zarr_format=3)
    datasets: list[dict[str, Any]] = []
    while True:
        factor = 2 ** len(datasets)
        array = group.create_array(
            str(len(datasets)),
            shape=level.shape,
            dtype=level.dtype,
            chunks=(*(1,) * (level.ndim - 2), *(min(_CHUNK, n) for n in level.shape[-2:])),
            compressors=[ZstdCodec(level=3), Crc32cCodec()],
            dimension_names=tuple(axes),
            config={"write_empty_chunks": True},
        )
        array[...] = level
        datasets.append(_dataset(str(len(datasets)), factor, scale, translation))
        if max(level.shape[-2:]) <= _SMALLEST:
            break
        # Every second pixel: a mean of ids would be the id of nobody.
        level = level[..., ::2, ::2]
    types = {"t": "time", "c": "channel"}
    named = [
        {"name": a, "type": types.get(a, "space"), **({"unit": u} if u else {})}
        for a, u in zip(axes, units, strict=True)
    ]
    label: dict[str, Any] = {"version": "0.5"}
    if rows:
        label["properties"] = list(rows)
    scales = {"name": name, "axes": named, "datasets": datasets}
    ome = {"version": "0.5", "multiscales": [scales], "image-label": label}
    # Last: a group without attributes is one that was not finished.
    group.update_attributes({"ome": ome})


def _dataset(
    path: str, factor: int, scale: Sequence[float], translation: Sequence[float] | None
) -> dict[str, Any]:
    steps = [*scale[:-2], scale[-2] * factor, scale[-1] * factor]
    transforms: list[dict[str, Any]] = [{"type": "scale", "scale": [float(s) for s in steps]}]
    if translation is not None and any(translation):
        transforms.append({"type": "translation", "translation": [float(t) for t in translation]})
    return {"path": path, "coordinateTransformations": transforms}
