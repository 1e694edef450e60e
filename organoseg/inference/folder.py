"""Files, folders and plates in, results out; one bad file costs one file, and a second run does what is missing."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from organoseg.core import Instances, UsageError, read_json, write_json
from organoseg.inference.api import Model
from organoseg.inference.cluster import Crew, spread
from organoseg.inference.items import Failure, Item, make_plan
from organoseg.inference.part import Part
from organoseg.inference.pipeline import Work, model_of, segment_items
from organoseg.inference.progress import Tell, automatic
from organoseg.inference.records import (
    ERRORS,
    RUN,
    SETTINGS,
    facts_path,
    keys_of,
    part_path,
    thumbnail_path,
)
from organoseg.inference.run_lock import alone
from organoseg.inference.settings import PredictSettings
from organoseg.inference.writers import (
    JOINT,
    USUAL,
    parse_writers,
    run_facts,
    write_csv,
    write_errors,
    write_report,
)
from organoseg.inference.writers import write_json as write_all_instances
from organoseg.io import read_instances
from organoseg.io.label_tiff import HiddenOrganoidsWarning
from organoseg.models.starter import NOTE, starter

INSTANCES, MEASUREMENTS, REPORT = "instances.json", "measurements.csv", "report.html"
#: Below this share of the model's own score threshold most of what is added is invented.
FAR_BELOW = 0.5


@dataclass(frozen=True)
class Outcome:
    """A finished run: how many pictures there are results of, what failed, and how many organoids were found.

    ``look_at``: what a person opens first; None where nothing was written for people.
    """

    pictures: int
    failures: tuple[Failure, ...]
    organoids: int = 0
    look_at: Path | None = None

    def sentence(self) -> str:
        """What came out, in words, and where to look."""
        failed = len({failure.file for failure in self.failures})
        found = f"{self.organoids} organoid{'s' * (self.organoids != 1)}"
        images = f"{self.pictures} image{'s' * (self.pictures != 1)}"
        where = "" if self.look_at is None else f" Open {self.look_at}"
        return f"{found} in {images} ({failed} failed).{where}"


def predict_folder(
    paths: Sequence[str | os.PathLike[str]],
    model: Path | None,
    out: Path,
    settings: PredictSettings | None = None,
    write: Sequence[str] = USUAL,
    device: str | None = None,
    precision: str = "auto",
    threads: int | None = None,
    crew: Crew | None = None,
    tell: Tell | None = None,
) -> Outcome:
    """Segment files, folders, zarr images and plates into ``out``, with the starter model where ``model`` is None.

    ``write`` names what is written (`organoseg.inference.writers`). A second run does only what is missing or failed,
    and what was segmented before is not segmented again for another kind of file. A source that changed since is done
    anew. ``crew``: more than one process. With the same ``threads`` (of the network, in each process) the results have
    the same bits whatever the crew; with another number networks round differently. ``tell`` hears how it goes.

    Raises
    ------
    DataError
        No images, or no model.
    UsageError
        ``write`` has an unknown name, ``out`` holds results of another model or other settings, or another run is at
        work there.
    RunError
        ``out`` cannot be made or written; what was done is kept.
    """
    begun, chosen = datetime.now(UTC), settings or PredictSettings()
    parse_writers(write)
    hear = tell or automatic()
    # First: a path that is not there is said before a network is loaded.
    plan = make_plan(paths, chosen, out)
    folder = starter() if model is None else model
    work = Work(folder, out.absolute(), chosen, tuple(write), device, precision, threads)
    ready = model_of(work)
    note = NOTE.format(identity=ready.description.identity) if model is None else None
    if note is not None:
        hear("note", {"text": note})
    threshold = ready.score_threshold if chosen.score_threshold is None else chosen.score_threshold
    with alone(out):
        locked = chosen.lock(ready.description.identity, threshold)
        _lock(out, locked)
        _warn_of_scale(ready.description.pixel_size)
        guesses = _guesses(threshold, ready)
        if guesses is not None:
            hear("note", {"text": guesses})
        hear("start", {"items": len(plan.items)})
        # Said in the report and beside each picture instead.
        warnings.filterwarnings("ignore", category=HiddenOrganoidsWarning)
        try:
            failures = [*plan.failures, *_all(plan.items, work, crew or Crew(), hear)]
        except BaseException:
            hear("abort", {})  # a bar must give the cursor back
            raise
        facts = _facts(ready, folder, locked, begun) | (
            {} if note is None else {"model_note": note}
        )
        if guesses is not None:
            facts["threshold_note"] = guesses
        pictures, organoids = collect(out, plan.items, failures, write, facts)
        hear("end", {"pictures": pictures, "failed": len(failures)})
        return Outcome(pictures, tuple(failures), organoids, _look_at(out, write))


def _guesses(threshold: float, model: Model) -> str | None:
    """A warning where scores are asked for that the model itself trusts by far too little."""
    own = model.description.score_threshold
    if model.thorough:
        own = model.description.thorough_threshold or own
    if threshold >= FAR_BELOW * own:
        return None
    return (
        f"The score threshold {threshold:.2g} is far below the model's own {own:.2g}: many of these organoids are "
        "guesses. For counts leave it out."
    )


def _look_at(out: Path, write: Sequence[str]) -> Path | None:
    """What tells a person most, of what was asked for."""
    names = (("report", REPORT), ("csv", MEASUREMENTS), ("overlay", "overlay"), ("json", INSTANCES))
    return next((out / file for name, file in names if name in write or "all" in write), None)


def _facts(
    model: Model, folder: Path, settings: Mapping[str, Any], begun: datetime
) -> dict[str, Any]:
    """What is known of a run before its first picture."""
    description = model.description
    return {
        "model": description.identity,
        "model_hash": description.weights_sha256,
        "settings": settings,
        "started": begun,
        "device": str(model.device),
        "precision": "bf16" if model.bf16 else "fp32",
        "model_folder": str(folder),
        "engine": description.engine,
        "classes": description.classes,
        "model_pixel_size": description.pixel_size,
    }


def _lock(out: Path, settings: Mapping[str, Any]) -> None:
    """Results of two models, or of two ways of looking, are never mixed."""
    path = out / SETTINGS
    known = read_json(path) if path.exists() else dict(settings)
    other = sorted(
        key for key in settings.keys() | known.keys() if settings.get(key) != known.get(key)
    )
    if other:
        raise UsageError(
            f"this folder holds results with another {', '.join(other)}",
            where=out,
            remedy="Give another --out, or remove the folder.",
        )
    if not path.exists():
        write_json(path, settings)


def _warn_of_scale(pixel_size: float | None) -> None:
    if pixel_size is None:
        warnings.warn(
            "the model does not say how large the pixels of its training images were: images are taken at their own "
            "scale. Organoids that are much larger or smaller than in training will be missed.",
            stacklevel=3,
        )


def _all(items: Sequence[Item], work: Work, crew: Crew, hear: Tell) -> Iterator[Failure]:
    if crew.alone:
        yield from segment_items(items, work, hear)
        return
    done = failed = 0
    for turn in spread(work, items, crew, work.out, lambda text: hear("note", {"text": text})):
        told = turn.told
        if told is None:
            told = [Failure(item.where, turn.died or "its worker died") for item in turn.items]
        done, failed = done + len(turn.items), failed + len(told)
        hear("item", {"done": done, "items": len(items), "failed": failed})
        yield from told


def collect(
    out: Path,
    items: Sequence[Item],
    failures: Sequence[Failure],
    write: Sequence[str],
    facts: Mapping[str, Any],
) -> tuple[int, int]:
    """The files of the whole run, out of what each picture has left; returns the numbers of pictures and organoids.

    ``facts``: of the run, for ``run.json``; ``classes`` among them. No pixel is read, and only one picture is held in
    memory at a time.
    """
    keys = keys_of(out, items)
    parts = partial(_parts, out, keys)
    names = set(JOINT) if "all" in write else set(write)
    pairs = sorted({(f.file, f.reason) for f in failures})
    if "json" in names:
        write_all_instances(out / INSTANCES, parts(), facts["classes"])
    if "csv" in names:
        write_csv(out / MEASUREMENTS, parts())
    inputs, organoids = {}, 0
    for part in parts():
        inputs[part.key] = str(part.facts["identity"])
        organoids += int(part.facts["count"])
    known = run_facts(
        **facts, inputs=inputs, ended=datetime.now(UTC), pictures=len(keys), failed=len(pairs)
    )
    write_json(out / RUN, known)
    if "report" in names:
        write_report(out / REPORT, parts(), known, pairs)
    if pairs:
        write_errors(out / ERRORS, pairs)
        done = f"{len(keys)} pictures have results"
        print(f"{len(pairs)} files failed, {done}: see {out / ERRORS}", file=sys.stderr)  # noqa: T201
    else:
        (out / ERRORS).unlink(missing_ok=True)
    return len(keys), organoids


def _parts(out: Path, keys: Iterable[str]) -> Iterator[Part]:
    for key in keys:
        small = thumbnail_path(out, key)
        yield Part(
            key,
            read_json(facts_path(out, key)),
            partial(_instances, out, key),
            small if small.exists() else None,
        )


def _instances(out: Path, key: str) -> Instances:
    return read_instances(part_path(out, key))[key]
