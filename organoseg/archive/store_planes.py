"""The planes of images in zarr stores of any maker: OME-Zarr 0.4 and 0.5, plates, bare arrays, our own."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from organoseg.archive.byte_store import is_remote, local_path
from organoseg.archive.chunk_reader import ChunkReader
from organoseg.archive.layout import AXES
from organoseg.archive.manifest import ArrayRef, Lost
from organoseg.archive.picture import Picture, Pixels, Position
from organoseg.archive.tasks import Place, Task
from organoseg.core import DataError
from organoseg.io.grey import supported

#: What a chunk that is not there means: a loss, or the fill value.
Absent = Literal["refuse", "fill"]
_MARKS = ("zarr.json", ".zgroup", ".zarray")
_UNITS = {"micrometer": 1.0, "micron": 1.0, "um": 1.0, "µm": 1.0, "nanometer": 1e-3, "nm": 1e-3}
_UNITS |= {"millimeter": 1e3, "mm": 1e3, "centimeter": 1e4, "meter": 1e6}


@dataclass(frozen=True)
class StoreImage:
    """An image's full-size array in a store; ``error`` says why it cannot be archived."""

    array: ArrayRef
    name: str
    group: str
    pixel_size: tuple[float, float] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def is_store(folder: Path) -> bool:
    """Whether a folder is a zarr group or array."""
    return any((folder / mark).is_file() for mark in _MARKS)


def store_images(url: str, name: str = "") -> list[StoreImage]:
    """Every image of the store at ``url`` (a path, or what fsspec reaches), without labels.

    ``name``: the store's name below its source, put before the images' own. DataError when it cannot be opened or
    holds no image.
    """
    import zarr

    where = url if is_remote(url) else str(local_path(url))
    try:
        node = zarr.open(where, mode="r")
        stem = PurePosixPath(where.rstrip("/")).name
        found = list(_images(node, url, "", (name or "").rstrip("/"), {"store": stem}))
    # Stores and file systems have errors of every kind; all of them mean that it cannot be read.
    except Exception as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"The zarr store cannot be opened: {error}",
            where=url,
            remedy="Check the path and its permissions.",
        ) from error
    if not found:
        raise DataError(
            "The zarr store holds no image", where=url, remedy="Give the store that does."
        )
    return found


def _images(
    node: Any, url: str, path: str, prefix: str, known: dict[str, str]
) -> Iterator[StoreImage]:
    import zarr

    if isinstance(node, zarr.Array):
        yield _bare(node, url, path, prefix, known)
        return
    attrs = dict(node.attrs)
    ome = attrs.get("ome", attrs)
    ome = ome if isinstance(ome, dict) else {}
    if ome.get("multiscales"):
        yield _multiscale(node, attrs, ome, url, path, prefix, known)
        return
    if "plate" in ome:
        known = {**known, "plate": str(ome["plate"].get("name") or known["store"])}
    if "well" in ome:
        parts = path.split("/")
        known = {**known, "well": "".join(p.zfill(2) if p.isdigit() else p for p in parts[-2:])}
    for key, member in sorted(node.members(), key=lambda item: _natural(item[0])):
        if key != "labels":
            yield from _images(member, url, f"{path}/{key}".lstrip("/"), prefix, known)


def _natural(text: str) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", text)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


def _bare(array: Any, url: str, path: str, prefix: str, known: dict[str, str]) -> StoreImage:
    named = getattr(array.metadata, "dimension_names", None) or ()
    axes = "".join(str(n).lower() for n in named)
    if len(axes) != array.ndim or not _usable(axes):
        axes = AXES[-array.ndim :] if array.ndim != 3 else "zyx"
    return _image(array, url, path, axes, _named(prefix, path, known), known, None, {})


def _multiscale(
    node: Any,
    attrs: Mapping[str, Any],
    ome: Mapping[str, Any],
    url: str,
    path: str,
    prefix: str,
    known: dict[str, str],
) -> StoreImage:
    scales = ome["multiscales"][0]
    dataset = scales["datasets"][0]
    axes = [a if isinstance(a, dict) else {"name": a} for a in scales.get("axes", [])]
    level = f"{path}/{dataset['path']}".lstrip("/")
    array = node[dataset["path"]]
    letters = "".join(str(a["name"]).lower() for a in axes) or AXES[-array.ndim :]
    size = _pixel_size(axes, letters, dataset, scales)
    own = attrs.get("organoseg")
    own = own if isinstance(own, dict) else {}
    name = str(own.get("name") or _named(prefix, path, known))
    if "well" in known:
        known = {**known, "site": PurePosixPath(path).name}
    return _image(array, url, level, letters, name, known, size, own)


def _image(
    array: Any,
    url: str,
    path: str,
    axes: str,
    name: str,
    known: Mapping[str, str],
    size: tuple[float, float] | None,
    own: Mapping[str, Any],
) -> StoreImage:
    fields = dict(own.get("fields") or {k: known[k] for k in known if k != "store"})
    parts = [known[k] for k in ("plate", "well") if k in known]
    group = str(own.get("group") or "/".join(parts) or known["store"].removesuffix(".zarr"))
    error = ""
    if array.ndim < 2 or len(axes) != array.ndim or not _usable(axes) or 0 in array.shape:
        error = f"An array of shape {array.shape} with axes {axes!r} is no image"
    elif array.dtype.kind not in "buif":
        error = f"Pixels of type {array.dtype} are not brightness"
    stored = tuple(getattr(array, "shards", None) or array.chunks)
    ref = ArrayRef(0, url, path, axes, tuple(array.shape), tuple(array.chunks), stored)
    return StoreImage(ref, name, group, size, fields, error)


def _usable(axes: str) -> bool:
    return set("yx") <= set(axes) <= set(AXES) and len(set(axes)) == len(axes)


def _named(prefix: str, path: str, known: Mapping[str, str]) -> str:
    return "/".join(part for part in (prefix or known["store"], path) if part)


def _pixel_size(
    axes: Sequence[Mapping[str, Any]], letters: str, *scaled: Mapping[str, Any]
) -> tuple[float, float] | None:
    """(y, x) in µm, or None where the metadata do not say it in a unit that is known."""
    size = []
    for letter in "yx":
        if letter not in letters:
            return None
        place = letters.index(letter)
        value = _UNITS.get(str(axes[place].get("unit", "")).lower()) if axes else None
        if value is None:
            return None
        for step in itertools.chain(*(s.get("coordinateTransformations") or [] for s in scaled)):
            if step.get("type") == "scale":
                value *= float(step["scale"][place])
        if not 0 < value < 1e6:
            return None
        size.append(value)
    return size[0], size[1]


def store_picture(image: StoreImage, absent: Absent = "refuse") -> Picture:
    """The image as a Picture. DataError when it is none; missing and damaged chunks are errors of their planes.

    ``absent``: "fill" takes a chunk that is not there for one of the fill value, as zarr does.
    """
    ref = image.array
    where = f"{ref.url}/{ref.path}".rstrip("/")
    if image.error:
        raise DataError(image.error, where=where)
    reader = ChunkReader()
    height, width = ref.size

    def read(position: Position) -> Pixels:
        t, c, z = position
        reply = reader.read(Task(ref, (Place(t, c, (z,), 0, 0, height, width),)))
        pixels = reply.pixels[0]
        if pixels is None and absent == "fill" and all(map(_absent, reply.lost)):
            pixels = _sliced(ref, position)
        if pixels is None:
            lost = next((lost for lost in reply.lost if not _absent(lost)), reply.lost[0])
            remedy = "Restore the store from a copy; `organoseg archive check` lists all losses."
            if _absent(lost):
                remedy += " If its writer leaves out chunks of one grey: --absent fill."
            raise DataError(
                f"Chunk {lost.chunk} of array {ref.path or '.'} is {lost.reason}",
                where=ref.url,
                remedy=remedy,
            )
        return supported(pixels, Path(where))

    lengths = dict(zip(ref.axes, ref.shape, strict=True))
    axes = "".join(a for a in AXES if a in lengths)
    return Picture(
        name=image.name,
        group=image.group,
        axes=axes,
        shape=tuple(int(lengths[a]) for a in axes),
        dtype=read((0, 0, 0)).dtype,
        read=read,
        pixel_size=image.pixel_size,
        sources=(where,),
        fields=image.fields,
    )


def _absent(lost: Lost) -> bool:
    return lost.reason.startswith("missing")


def _sliced(ref: ArrayRef, position: Position) -> Pixels:
    """A plane (H, W) as zarr gives it, with the fill value where a chunk is not there."""
    import zarr

    where = ref.url if is_remote(ref.url) else str(local_path(ref.url))
    at: dict[str, Any] = dict(zip("tcz", position, strict=True))
    index = tuple(at.get(axis, slice(None)) for axis in ref.axes)
    plane: Any = zarr.open_array(where, path=ref.path, mode="r")[index]
    return np.asarray(plane if ref.axes.index("y") < ref.axes.index("x") else plane.T)
