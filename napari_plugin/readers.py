"""Readers: organoids from instances.json, label images from OME-Zarr."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from organoseg.core import DataError

from . import messages
from .conversion import LayerData, labels_layer

Reader = Callable[[Any], list[LayerData]]
#: More images than this are for the review, which shows one after the other.
MOST = 20


def instances_reader(path: Any) -> Reader | None:
    """napari's question whether we read ``path``: one JSON file with images and annotations."""
    if isinstance(path, list | tuple) or Path(path).suffix.lower() != ".json":
        return None
    try:
        with Path(path).open("rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return None
    # The whole file may be large; the real check comes with the reading, and says what is wrong.
    return read_instances_json if b'"images"' in head or b'"annotations"' in head else None


def read_instances_json(path: str | Path) -> list[LayerData]:
    """A Labels layer for each image of the file, and the image itself where it lies beside the file.

    DataError when the file is not what it must be.
    """
    from organoseg.io import read_instances

    path = Path(path)
    found = read_instances(path)
    if not found:
        raise DataError("The file lists no image", where=path, remedy="Predict some images first")
    names = list(found)
    if len(names) > MOST:
        messages.warn(
            f"{path.name} has {len(names)} images; the first {MOST} are shown. "
            "Layers > Annotate > Review organoids goes through all of them."
        )
    layers: list[LayerData] = []
    for name in names[:MOST]:
        image = _image_beside(path.parent, name)
        spatial: dict[str, Any] = {"visible": name == names[0]}
        if image is not None and image[1] is not None:
            spatial |= {"scale": image[1], "units": ("micrometer", "micrometer")}
        if image is not None:
            layers.append((image[0], {"name": name, **spatial}, "image"))
        layers.append(labels_layer([found[name]], f"{name} organoids", names=(name,), **spatial))
    return layers


def _image_beside(folder: Path, name: str) -> tuple[Any, tuple[float, float] | None] | None:
    """Pixels and pixel size of an image that the file names; None where it is not there or not readable."""
    from organoseg.io import read_image

    root = folder.resolve()
    for path in (folder / name, folder / "images" / name, folder.parent / name):
        inside = path.resolve().is_relative_to(root) or path.resolve().is_relative_to(root.parent)
        if inside and path.is_file():
            try:
                image = read_image(path)
                return image.plane(), image.pixel_size
            except DataError as error:
                messages.warn(messages.explain(error))
                return None
    return None


def ome_zarr_reader(path: Any) -> Reader | None:
    """napari's question whether we read ``path``: an OME-Zarr folder that has labels, or is a label image."""
    from . import ome_zarr

    if isinstance(path, list | tuple) or not Path(path).is_dir():
        return None
    return read_ome_zarr if ome_zarr.label_groups(Path(path)) else None


def read_ome_zarr(path: str | Path) -> list[LayerData]:
    """The image, drawn from all its levels, and its label images at full size, in memory.

    napari cannot paint on several levels, and what is painted on a lazily read one is lost without a word: so the
    labels are a copy. The store is never written to; save the copy elsewhere. DataError when metadata or pixels
    are damaged.
    """
    from . import ome_zarr

    return ome_zarr.layers(Path(path))
