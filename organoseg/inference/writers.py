"""What `predict` writes for each image, beside the masks themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from organoseg.core import Image, Instances, UsageError
from organoseg.io import write_labels
from organoseg.io.geojson import write_geojson
from organoseg.io.roi_zip import write_rois

Write = Callable[[Path, Instances, Image, Mapping[int, str]], None]


@dataclass(frozen=True)
class Writer:
    """One kind of file: where it lies under the folder of results, and how it is written (atomically)."""

    folder: str
    suffix: str
    write: Write

    def path(self, out: Path, name: str) -> Path:
        """The file of the image called ``name``."""
        return out / self.folder / f"{name}{self.suffix}"


def _labels(path: Path, found: Instances, image: Image, classes: Mapping[int, str]) -> None:
    write_labels(path, found, image.pixel_size)


def _rois(path: Path, found: Instances, image: Image, classes: Mapping[int, str]) -> None:
    write_rois(path, found, classes)


def _geojson(path: Path, found: Instances, image: Image, classes: Mapping[int, str]) -> None:
    write_geojson(path, found, classes, image.identity)


WRITERS: dict[str, Writer] = {
    "labels": Writer("labels", ".tif", _labels),
    "rois": Writer("rois", ".zip", _rois),
    "geojson": Writer("geojson", ".geojson", _geojson),
}
USUAL = ("labels",)


def parse_writers(names: Sequence[str]) -> tuple[Writer, ...]:
    """The writers of these names. UsageError names one that is unknown."""
    unknown = [name for name in names if name not in WRITERS]
    if unknown:
        raise UsageError(
            f"nothing is called {', '.join(map(repr, unknown))}",
            where="--write",
            remedy=f"Choose from {', '.join(WRITERS)}.",
        )
    return tuple(WRITERS[name] for name in dict.fromkeys(names))
