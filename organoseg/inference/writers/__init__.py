"""What ``predict`` writes: files of one picture, and files of the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from organoseg.core import UsageError
from organoseg.inference.page import write_report
from organoseg.inference.result import Result
from organoseg.inference.writers.facts import facts_of
from organoseg.inference.writers.ome_zarr import write_ome_zarr
from organoseg.inference.writers.overlay import thumbnail, write_overlay
from organoseg.inference.writers.protocol import FileWriter, Writer
from organoseg.inference.writers.run_facts import run_facts
from organoseg.inference.writers.tables import write_csv, write_errors, write_json
from organoseg.io import write_labels
from organoseg.io.geojson import write_geojson
from organoseg.io.roi_zip import write_rois

__all__ = [
    "JOINT",
    "PICTURE_WRITERS",
    "USUAL",
    "Writer",
    "facts_of",
    "parse_writers",
    "run_facts",
    "thumbnail",
    "write_csv",
    "write_errors",
    "write_json",
    "write_report",
]


def _labels(path: Path, result: Result) -> None:
    write_labels(path, result.instances, result.image.pixel_size)


def _rois(path: Path, result: Result) -> None:
    write_rois(path, result.instances, result.classes)


def _geojson(path: Path, result: Result) -> None:
    write_geojson(path, result.instances, result.classes, result.image.identity)


#: Writers of files of one picture, by what ``--write`` calls them.
PICTURE_WRITERS: dict[str, Writer] = {
    writer.name: writer
    for writer in (
        FileWriter("labels", ".tif", _labels),
        FileWriter("ome-zarr", ".ome.zarr", write_ome_zarr),
        FileWriter("rois", ".zip", _rois),
        FileWriter("geojson", ".geojson", _geojson),
        FileWriter("overlay", ".png", write_overlay),
    )
}
#: Files of the whole run, by what ``--write`` calls them.
JOINT = ("json", "csv", "report")
#: What is written when nobody says otherwise.
USUAL = ("json", "csv", "labels", "overlay", "report")


def parse_writers(names: Sequence[str]) -> tuple[Writer, ...]:
    """The writers of one picture's files among these names; ``all`` means every one.

    UsageError names one that is unknown, and says all that there are.
    """
    known = (*JOINT, *PICTURE_WRITERS, "all")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"nothing is called {', '.join(map(repr, unknown))}",
            where="--write",
            remedy=f"Choose from {', '.join(known)}.",
        )
    chosen = PICTURE_WRITERS if "all" in names else dict.fromkeys(names)
    return tuple(PICTURE_WRITERS[name] for name in chosen if name in PICTURE_WRITERS)
