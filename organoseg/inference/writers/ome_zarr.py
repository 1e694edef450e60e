"""OME-Zarr 0.5: the picture with its organoids as labels, every overlap kept.

KEY.ome.zarr/
    zarr.json                   the picture: `ome` attributes with its pyramid 0/ 1/ ...
    labels/organoids/           the label image that the TIFF has too: the highest score owns a pixel
    labels/organoids_under_1/   what lies under those, where organoids overlap; under_2 what lies under both, and so on

An organoid's mask is every pixel that has its number in any of the layers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.archive.layout import ZSTD_LEVEL, chunking, level_sizes, ome_attrs
from organoseg.archive.write_image import levels
from organoseg.core import DataError, Instances, Mask
from organoseg.core.folders import atomic_folder
from organoseg.inference.result import Result

#: The first layer; those below it are called by it and their depth.
TOP = "organoids"
Labels = NDArray[Any]


def write_ome_zarr(path: Path, result: Result) -> None:
    """Write the picture and its layers of labels as an OME-Zarr folder, which appears when it is whole.

    RunError when the disk does not take it; DataError where a number is above 2^32 - 1.
    """
    with atomic_folder(path, replace=True) as folder:
        _write(folder, result)


def _write(folder: Path, result: Result) -> None:
    import zarr

    size = result.image.pixel_size
    plane = np.asarray(result.image.plane())
    root = zarr.create_group(folder, zarr_format=3)
    for number, level in enumerate(levels(plane)):
        _array(root, str(number), level)
    count = len(level_sizes(*plane.shape))
    root.update_attributes({"ome": ome_attrs(result.key, "yx", count, size)})
    group = root.create_group("labels")
    names = []
    for depth, layer in enumerate(layers(result.instances)):
        names.append(f"{TOP}_under_{depth}" if depth else TOP)
        target = group.create_group(names[-1])
        for number in range(count):
            _array(target, str(number), layer[:: 2**number, :: 2**number])
        target.update_attributes({"ome": _label_attrs(result, names[-1], layer, count)})
    group.update_attributes({"ome": {"version": "0.5", "labels": names}})


def layers(instances: Instances) -> list[Labels]:
    """Label images (H, W), uint16 or uint32, that together hold every pixel of every mask; at least one.

    The first is ``instances.render()``; the next has, where several organoids share a pixel, the one with the second
    highest score, and so on.
    """
    top = int(instances.ids.max(initial=0))
    if top > np.iinfo(np.uint32).max:
        raise DataError("A number is too large for a label image", remedy="Renumber the organoids")
    dtype = np.uint16 if top <= np.iinfo(np.uint16).max else np.uint32
    made: list[Labels] = [np.zeros(instances.shape, dtype)]
    depth = np.zeros(instances.shape, np.uint32)
    # From the highest score down; of equals the lower number first, as `render` has it.
    for index in np.lexsort((instances.ids, -instances.scores.astype(np.float64))).tolist():
        mask, number = instances.masks[index], int(instances.ids[index])
        y0, x0, y1, x1 = mask.box
        place = np.s_[y0:y1, x0:x1]
        here = depth[place]
        for level in range(int(here[mask.bits].max()) + 1):
            if level == len(made):
                made.append(np.zeros(instances.shape, dtype))
            made[level][place][mask.bits & (here == level)] = number
        here[mask.bits] += 1
    return made


def _array(group: Any, name: str, pixels: NDArray[Any]) -> None:
    from zarr.codecs import Crc32cCodec, ZstdCodec

    height, width = pixels.shape
    inner, shard = chunking((height, width))
    array = group.create_array(
        name,
        shape=pixels.shape,
        dtype=pixels.dtype,
        chunks=inner,
        shards=shard,
        # The checksum comes last, so that damage is noticed before zstd sees it.
        compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
        dimension_names=("y", "x"),
        # An all-zero chunk is written too: a chunk that is not there is then always a loss.
        config={"write_empty_chunks": True},
    )
    array[:] = pixels


def _label_attrs(result: Result, name: str, layer: Labels, count: int) -> dict[str, Any]:
    found = result.instances
    attrs = ome_attrs(name, "yx", count, result.image.pixel_size)
    (scales,) = attrs["multiscales"]
    scales["type"] = "nearest"
    for dataset in scales["datasets"]:
        # Every other pixel as it is: its place is its own, and not between pixels as that of a mean.
        dataset["coordinateTransformations"] = dataset["coordinateTransformations"][:1]
    here = set(np.unique(layer).tolist())
    attrs["image-label"] = {
        "source": {"image": "../../"},
        "properties": [
            {
                "label-value": number,
                "class": result.classes.get(kind, str(kind)),
                "category_id": kind,
                "score": score,
                "source": source,
            }
            for number, kind, score, source in zip(
                found.ids.tolist(), found.classes.tolist(), found.scores.tolist(), found.sources, strict=True
            )
            if number in here
        ],
    }  # fmt: skip
    return attrs


def read_ome_zarr(path: Path) -> Instances:
    """The organoids of a folder that `write_ome_zarr` wrote, exactly, in the order of their numbers.

    DataError when it is not one.
    """
    import zarr

    try:
        group: Any = zarr.open_group(path, mode="r")["labels"]
        names = dict(group.attrs)["ome"]["labels"]
        pieces: dict[int, list[Mask]] = {}
        facts: dict[int, dict[str, Any]] = {}
        shape = None
        for name in names:
            attrs = dict(group[name].attrs)["ome"]["image-label"]
            facts |= {entry["label-value"]: entry for entry in attrs["properties"]}
            array = group[name]["0"]
            if array.nchunks_initialized != array.nchunks:
                raise DataError("A part of the organoids in OME-Zarr is missing", where=path)
            layer = Instances.from_labels(np.asarray(array[:]))
            shape = layer.shape
            for number, mask in zip(layer.ids.tolist(), layer.masks, strict=True):
                pieces.setdefault(number, []).append(mask)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, OSError) as error:
        raise DataError("Not a folder of organoids in OME-Zarr", where=path) from error
    if shape is None:
        raise DataError("The OME-Zarr folder has no layer of organoids", where=path)
    numbers = sorted(pieces)
    return Instances.from_masks(
        shape,
        [_joined(pieces[number]) for number in numbers],
        scores=[facts[number]["score"] for number in numbers],
        classes=[facts[number]["category_id"] for number in numbers],
        ids=numbers,
        sources=[facts[number]["source"] for number in numbers],
    )


def _joined(pieces: list[Mask]) -> Mask | None:
    boxes = np.array([mask.box for mask in pieces])
    y, x = boxes[:, :2].min(0).tolist()
    bottom, right = boxes[:, 2:].max(0).tolist()
    bits = np.zeros((bottom - y, right - x), bool)
    for mask in pieces:
        y0, x0, y1, x1 = mask.box
        bits[y0 - y : y1 - y, x0 - x : x1 - x] |= mask.bits
    return Mask.from_bits(bits, y, x)
