"""Find the images in a listed zarr store: ours, OME-Zarr 0.4 and 0.5, plates, series, bare arrays, nested stores."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from organoseg.archive.listing import Listing
from organoseg.archive.records import ImageRecord
from organoseg.archive.stored_array import NoPicture, StoredArray, array_v2, array_v3

_AXES = "tczyx"
_UNITS = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "µm": 1.0, "um": 1.0}
#: Side of a cell (px) where chunks are larger than `_LARGEST`.
_CELL, _LARGEST = 512, 1024


@dataclass(frozen=True)
class Found:
    """``images`` (ids and stores 0) with what ours know: ``hashes`` by path; ``problems``: (path, reason).

    ``digests``: SHA-256 of each metadata file by key.
    """

    images: list[ImageRecord] = field(default_factory=list)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    kind: str = "zarr"


def walk(listing: Listing) -> Found:
    """Every image in the store; what cannot be one is a problem, not an error."""
    arrays, groups, problems, digests = _nodes(listing)
    found = Found(problems=[*listing.closed, *problems], digests=digests, kind=_kind(groups))
    claimed: set[str] = set()
    folders = _folders(listing)
    children: dict[str, list[str]] = {}
    for path in arrays:
        children.setdefault(path.rpartition("/")[0], []).append(path)
    for path in sorted(groups):
        attrs = groups[path]
        inner = attrs.get("ome", attrs)
        if not isinstance(inner, dict) or "multiscales" not in inner:
            continue
        scales = inner["multiscales"] if isinstance(inner["multiscales"], list) else []
        named = {_join(path, str(d.get("path"))) for s in scales if isinstance(s, dict)
                 for d in s.get("datasets") or [] if isinstance(d, dict)}  # fmt: skip
        claimed |= named & arrays.keys()
        # A folder of numbered arrays belongs to the image even when its metadata is damaged.
        claimed |= {p for p in children.get(path, ()) if p.rpartition("/")[2].isdigit()}
        if _is_label(path, inner):
            continue
        for scale in scales or [None]:
            try:
                image = _image(path, attrs, inner, scale, arrays, groups, listing.url)
                _add(found, image, attrs, listing, folders)
            except (NoPicture, KeyError, TypeError, ValueError, AttributeError) as error:
                found.problems.append((path, f"metadata: {error}"))
    for path in sorted(set(arrays) - claimed):
        if _is_label(path, {}) or "/tables/" in f"/{path}/":
            continue
        try:
            _add(found, _bare(path, arrays[path], groups, listing.url), {}, listing, folders)
        except NoPicture as error:
            found.problems.append((path, str(error)))
    return found


def _kind(groups: dict[str, dict[str, Any]]) -> str:
    ours = groups.get("", {}).get("organoseg")
    return "organoseg" if isinstance(ours, dict) and "format" in ours else "zarr"


def _nodes(
    listing: Listing,
) -> tuple[
    dict[str, StoredArray], dict[str, dict[str, Any]], list[tuple[str, str]], dict[str, str]
]:
    digests: dict[str, str] = {}
    arrays: dict[str, StoredArray] = {}
    groups: dict[str, dict[str, Any]] = {}
    problems: list[tuple[str, str]] = []
    for key in listing.keys:
        path, _, name = key.rpartition("/")
        if name not in ("zarr.json", ".zarray", ".zgroup", ".zattrs"):
            continue
        try:
            raw = listing.store.get(key) or b""
            digests[key] = hashlib.sha256(raw).hexdigest()
            data = json.loads(raw)
            if not isinstance(data, dict):
                raise NoPicture("not an object")
            if name == ".zattrs":
                groups.setdefault(path, {}).update(data)
            elif name == ".zgroup":
                groups.setdefault(path, {})
            elif name == ".zarray":
                arrays[path] = array_v2(data)
            elif data.get("node_type") == "array":
                arrays[path] = array_v3(data)
            else:
                groups[path] = dict(data.get("attributes") or {})
        except (
            NoPicture,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            OSError,
        ) as error:
            problems.append((path, f"{name}: {error or 'cannot be read'}"))
    # The attributes of version 2 arrays are no groups.
    return arrays, {p: a for p, a in groups.items() if p not in arrays}, problems, digests


def _image(
    path: str, attrs: dict[str, Any], inner: dict[str, Any], scale: Any,
    arrays: dict[str, StoredArray], groups: dict[str, dict[str, Any]], url: str,
) -> ImageRecord:  # fmt: skip
    if not isinstance(scale, dict) or not scale.get("datasets"):
        raise NoPicture("multiscales names no arrays")
    paths = [_join(path, str(data["path"])) for data in scale["datasets"]]
    absent = [p for p in paths if p not in arrays]
    if paths[0] in absent:
        raise NoPicture(f"level {paths[0]} is missing or unusable")
    levels = [p for p in paths if p not in absent]
    full = arrays[paths[0]]
    axes = [a if isinstance(a, str) else str(a["name"]) for a in scale.get("axes") or _AXES]
    if [len(arrays[p].shape) for p in levels] != [len(axes)] * len(levels):
        raise NoPicture(f"axes {''.join(axes)} do not fit shape {full.shape}")
    ours = attrs.get("organoseg")
    ours = ours if isinstance(ours, dict) else {}
    fields, group = _place(path, groups, url)
    name = ours.get("name") or scale.get("name") or inner.get("name") or path or _last(url)
    return _record(
        full, "".join(axes).lower(), paths[0], str(name), str(ours.get("group", group)),
        tuple((p, arrays[p].shape) for p in levels), _pixel_size(scale, axes),
        ours.get("fields") or fields,
    )  # fmt: skip


def _bare(path: str, array: StoredArray, groups: dict[str, Any], url: str) -> ImageRecord:
    if len(array.shape) < 2:
        raise NoPicture(f"an array of shape {array.shape} is no picture: it needs y and x")
    named = "".join(str(n).lower() for n in array.names if n)
    axes = named if len(named) == len(array.shape) else _AXES[-len(array.shape) :]
    fields, group = _place(path, groups, url)
    return _record(
        array, axes, path, path or _last(url), group, ((path, array.shape),), None, fields
    )


def _record(
    array: StoredArray,
    axes: str,
    path: str,
    name: str,
    group: str,
    levels: Any,
    size: Any,
    fields: Any,
) -> ImageRecord:
    if len(set(axes)) != len(axes) or set(axes) - set(_AXES) or not {"y", "x"} <= set(axes):
        raise NoPicture(f"axes {axes!r} are not letters of tczyx with y and x")
    if len(axes) != len(array.shape) or min(array.shape) < 1:
        raise NoPicture(f"shape {array.shape} holds no pixels")
    tile = max(array.chunks[axes.index("y")], array.chunks[axes.index("x")])
    return ImageRecord(
        0, 0, path, name, group, axes, array.shape, array.dtype, array.chunks, array.shards,
        array.codec, array.checksummed, size, levels, dict(fields), "",
        max(tile, 64) if tile <= _LARGEST else _CELL,
    )  # fmt: skip


def _place(path: str, groups: dict[str, dict[str, Any]], url: str) -> tuple[dict[str, str], str]:
    """(plate, well and site where a plate lies above, the group: well, else the store or folder)."""
    parts = path.split("/") if path else []
    for depth in range(len(parts) - 1, -1, -1):
        attrs = groups.get("/".join(parts[:depth]), {})
        inner = attrs.get("ome", attrs)
        if isinstance(inner, dict) and "plate" in inner and len(parts) >= depth + 2:
            plate = "/".join(parts[:depth]) or _last(url)
            well = "".join(parts[depth : depth + 2])
            site = "/".join(parts[depth + 2 : depth + 3])
            return {"plate": plate, "well": well, "site": site}, f"{plate}/{well}"
    for depth in range(len(parts), 0, -1):
        if parts[depth - 1].endswith((".zarr", ".n5")):
            return {}, "/".join([_last(url), *parts[:depth]])
    return {}, "/".join([_last(url), *parts[:-1]])


def _pixel_size(scale: dict[str, Any], axes: list[str]) -> tuple[float, float] | None:
    steps = scale["datasets"][0].get("coordinateTransformations") or []
    factors = next((s["scale"] for s in steps if s.get("type") == "scale"), None)
    found = []
    for letter in "yx":
        axis = next(
            (a for a in scale.get("axes") or [] if isinstance(a, dict) and a.get("name") == letter),
            {},
        )
        unit = _UNITS.get(str(axis.get("unit")))
        if factors is None or unit is None:
            return None
        found.append(float(factors[axes.index(letter)]) * unit)
    return (found[0], found[1]) if min(found) > 0 else None


def _add(
    found: Found, image: ImageRecord, attrs: dict[str, Any], listing: Listing, folders: dict[str, list[str]]
) -> None:  # fmt: skip
    tops = {level.rpartition("/")[0] if attrs else level for level, _ in image.levels}
    keys = [k for top in {*tops, *(p for p, _ in image.levels)} for k in folders.get(top, [])]
    found.images.append(replace(image, signature=listing.signature(keys)))
    ours = attrs.get("organoseg")
    if isinstance(ours, dict) and isinstance(ours.get("pixel_hashes"), dict):
        found.hashes[image.path] = {str(k): str(v) for k, v in ours["pixel_hashes"].items()}


def _folders(listing: Listing) -> dict[str, list[str]]:
    """Keys by the metadata folder (array or group) that holds them."""
    names = {"zarr.json", ".zarray", ".zgroup", ".zattrs"}
    nodes = {k.rpartition("/")[0] for k in listing.keys if k.rpartition("/")[2] in names}
    out: dict[str, list[str]] = {}
    for key in listing.keys:
        folder = key.rpartition("/")[0]
        while folder and folder not in nodes:
            folder = folder.rpartition("/")[0]
        out.setdefault(folder, []).append(key)
    return out


def _is_label(path: str, inner: dict[str, Any]) -> bool:
    return "image-label" in inner or "/labels/" in f"/{path}/"


def _join(group: str, path: str) -> str:
    return f"{group}/{path}" if group else path


def _last(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2]
