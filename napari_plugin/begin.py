"""A new review: over files, an archive, or what is open in the viewer. No Qt."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from organoseg.core import DataError, Image, Instances, UsageError, atomic_write
from organoseg.review import Project, ReviewSession, create_project

from . import settings
from .conversion import as_image, instances_of, pixel_size, planes
from .session_desk import SessionDesk

PROJECT, REVIEW = "project.json", "review"
Shown = Callable[[int, int], None]


@dataclass(frozen=True)
class Begun:
    """A new project, and the files that are not in it, with the reason."""

    project: Project
    left_out: list[tuple[str, str]]


def review_folder(folder: Path) -> Path:
    """Where the project is in the folder that the user named: a review of open layers has its images there, too."""
    inside = folder / REVIEW
    return inside if not (folder / PROJECT).is_file() and (inside / PROJECT).is_file() else folder


def open_desk(folder: Path) -> SessionDesk:
    """The review in a folder; DataError where there is none."""
    if not (folder / PROJECT).is_file():
        raise DataError(
            "There is no review in this folder",
            where=folder,
            remedy="Press “New…” to begin one over images, an archive or results",
        )
    return SessionDesk(ReviewSession.open(folder, settings.reviewer()))


def begin(
    folder: Path,
    images: Path,
    predictions: Path | None = None,
    second: Path | None = None,
    shown: Shown | None = None,
) -> Begun:
    """A review in the new folder ``folder`` of ``images``, a file, folder or archive, and what was found in them.

    Raises what `organoseg.review.create_project` raises; UsageError where the review would lie among the images.
    """
    if folder.resolve().is_relative_to(images.resolve()):
        raise UsageError(
            "The review would lie inside the folder of images, which is never written to",
            where=folder,
            remedy="Choose a folder beside it",
        )
    archive = images.is_dir() and (images / "zarr.json").is_file()
    left_out: list[tuple[str, str]] = []
    project = create_project(
        folder,
        () if archive else (images,),
        archive=images if archive else None,
        predictions=predictions,
        second=second,
        random_share=settings.random_share(),
        progress=shown,
        notes=left_out,
    )
    return Begun(project, left_out)


def begin_with_layers(folder: Path, image: Any, labels: Any | None) -> Begun:
    """A review of an open image layer, and of the organoids of a Labels layer over it.

    A copy of the image goes to ``folder/images``, and the organoids, with their overlaps, beside it. Raises
    UsageError where the folder is taken or the two layers are not of one size.
    """
    from organoseg.io import write_instances

    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            "There is something in this folder already", where=folder, remedy="Name a new one"
        )
    size = pixel_size(image.scale, image.units)
    flat = planes(image.data, image.name, image.rgb, image.multiscale)
    stem = re.sub(r"[^\w.-]+", "_", image.name).strip("._") or "image"
    names = [f"{stem}.tif"] if len(flat) == 1 else [f"{stem}_{n:04d}.tif" for n in range(len(flat))]
    found = _found(labels, flat, image.rgb)
    for name, plane in zip(names, flat, strict=True):
        _write(folder / "images" / name, as_image(plane, size, name))
    predictions = None
    if found is not None:
        predictions = folder / "instances.json"
        write_instances(predictions, list(zip(names, found, strict=True)), _classes(found))
    return begin(folder / REVIEW, folder / "images", predictions)


def _found(labels: Any | None, flat: list[Any], rgb: bool) -> list[Instances] | None:
    if labels is None:
        return None
    data = labels.data[0] if labels.multiscale else labels.data
    state = {"metadata": labels.metadata, "features": labels.features}
    found = instances_of(np.asarray(data), state)
    shapes = [tuple(plane.shape[:2] if rgb else plane.shape) for plane in flat]
    if [part.shape for part in found] != shapes:
        raise UsageError(
            f"The organoids in “{labels.name}” are not of this image: it has another size",
            remedy="Choose the labels that were made from it",
        )
    return found


def _classes(found: list[Instances]) -> dict[int, str]:
    kinds = {int(c) for part in found for c in part.classes}
    return {1: "organoid"} | {c: f"class {c}" for c in sorted(kinds - {1})}


def _write(path: Path, image: Image) -> None:
    import tifffile

    options: dict[str, Any] = {}
    if image.pixel_size is not None:
        y, x = image.pixel_size
        options = {"resolution": (1 / x, 1 / y)}
    unit = {"unit": "um"} if image.pixel_size is not None else {}
    with atomic_write(path) as handle:
        tifffile.imwrite(
            handle, image.plane(), imagej=True, metadata={"axes": "YX", **unit}, **options
        )
