"""Folders of images in, results out; one bad file costs one file."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from organoseg.core import (
    DataError,
    Instances,
    OrganosegError,
    RunError,
    UsageError,
    read_json,
    write_json,
    write_text,
)
from organoseg.inference.api import Model, load_model
from organoseg.inference.writers import USUAL, Writer, parse_writers
from organoseg.io import (
    find_images,
    measure,
    read_image,
    read_instances,
    write_instances,
    write_measurements,
)

SETTINGS, INSTANCES, MEASUREMENTS, ERRORS = (
    "predict.json",
    "instances.json",
    "measurements.csv",
    "errors.csv",
)


@dataclass(frozen=True)
class Job:
    """One image and the name under which its results are kept."""

    path: Path
    name: str

    def part(self, out: Path) -> Path:
        """Its own instances file, by which a second run knows that it is done."""
        return out / "parts" / f"{self.name}.json"

    def done(self, out: Path, writers: Sequence[Writer]) -> bool:
        """All that was asked for lies there."""
        asked = [self.part(out), *(writer.path(out, self.name) for writer in writers)]
        return all(path.exists() for path in asked)


def _jobs(paths: Sequence[Path], out: Path) -> list[Job]:
    found = [p for p in find_images(paths) if out.resolve() not in p.resolve().parents]
    if not found:
        raise DataError("there is no image to segment", where=", ".join(map(str, paths)))
    folders = {str(p.resolve().parent) for p in found}
    root = Path(os.path.commonpath(folders))
    return [Job(p, p.resolve().relative_to(root).as_posix()) for p in found]


def _check_settings(out: Path, settings: dict[str, object]) -> None:
    path = out / SETTINGS
    if path.exists() and read_json(path) != settings:
        raise UsageError(
            "this folder holds results of another model, threshold or way of looking",
            where=out,
            remedy="Give another --out, or remove the folder.",
        )
    write_json(path, settings)


def predict_folder(
    paths: Sequence[Path],
    model: Path,
    out: Path,
    score_threshold: float | None = None,
    device: str | None = None,
    precision: str = "auto",
    write: Sequence[str] = USUAL,
    thorough: bool = False,
) -> int:
    """Segment images and folders of images into ``out``.

    ``instances.json`` holds every mask (COCO run lengths, overlaps kept), ``measurements.csv`` a row an organoid,
    ``errors.csv`` a row a file that failed; ``write`` names what else each image gets: ``labels`` (a label TIFF),
    ``rois`` (for ImageJ), ``geojson`` (for QuPath). A second run does only what is missing, and what was segmented
    before is not segmented again for another kind of file.

    Returns
    -------
    int
        0, or 1 when a file failed.

    Raises
    ------
    DataError
        No images, or no model.
    UsageError
        ``write`` has an unknown name, or ``out`` holds results of another model, threshold or way of looking.
    RunError
        ``out`` cannot be made.
    """
    writers = parse_writers(write)
    ready = load_model(model, device, precision, thorough)
    threshold = ready.score_threshold if score_threshold is None else score_threshold
    jobs = _jobs(paths, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the folder of results cannot be made: {error.strerror or error}",
            where=out,
            remedy="Check permissions and the path.",
        ) from error
    settings = {
        "model": ready.description.identity,
        "score_threshold": threshold,
        "thorough": thorough,
    }
    _check_settings(out, settings)
    failed: list[tuple[str, str]] = []
    for job in _shown(jobs):
        if job.done(out, writers):
            continue
        try:
            _one(ready, job, out, threshold, writers)
        except (
            OrganosegError,
            OSError,
            MemoryError,
            RuntimeError,
        ) as error:  # torch's want of memory
            failed.append((str(job.path), str(error)))
    _collect(jobs, out, ready, failed)  # may add to the failures
    return 1 if failed else 0


def _shown(jobs: Sequence[Job]) -> Iterator[Job]:
    """The jobs, with a bar on a terminal and nothing in a log."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(jobs, "segmenting", console=console, disable=not sys.stderr.isatty())


def _one(model: Model, job: Job, out: Path, threshold: float, writers: Sequence[Writer]) -> None:
    image, part = read_image(job.path), job.part(out)
    found = _known(job, out)
    if found is None or found.shape != image.shape:
        found = model.segment(image, threshold)
        part.unlink(missing_ok=True)
    for writer in writers:
        path = writer.path(out, job.name)
        if not (part.exists() and path.exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            writer.write(path, found, image, model.description.classes)
    if part.exists():
        return
    # Last, because it says that the others belong to it.
    part.parent.mkdir(parents=True, exist_ok=True)
    write_instances(part, [(job.name, found)], model.description.classes)


def _known(job: Job, out: Path) -> Instances | None:
    """What an earlier run found in the image; None where it found nothing readable."""
    try:
        return read_instances(job.part(out))[job.name]
    except (DataError, KeyError):
        return None


def _collect(jobs: Sequence[Job], out: Path, model: Model, failed: list[tuple[str, str]]) -> None:
    pairs: list[tuple[str, Instances]] = []
    rows = []
    for job in jobs:
        if not job.part(out).exists():
            continue
        found = read_instances(job.part(out))[job.name]
        pairs.append((job.name, found))
        try:
            # The job's name, not the file's: wells of two plates are often called alike.
            rows += [{**r, "image": job.name} for r in measure(found, read_image(job.path))]
        except OrganosegError as error:  # it has changed since it was segmented
            failed.append((str(job.path), str(error)))
    write_instances(out / INSTANCES, pairs, model.description.classes)
    write_measurements(out / MEASUREMENTS, rows)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("file", "reason"))
    writer.writerows(failed)
    if failed:
        write_text(out / ERRORS, text.getvalue())
        print(f"{len(failed)} of {len(jobs)} files failed: see {out / ERRORS}", file=sys.stderr)  # noqa: T201
    else:
        (out / ERRORS).unlink(missing_ok=True)
