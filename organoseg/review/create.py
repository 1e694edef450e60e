"""A new review project over a folder of images or an archive, with or without predictions."""

from __future__ import annotations

import datetime
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from organoseg.archive import Archive
from organoseg.core import DataError, Instances, UsageError, read_json, write_json
from organoseg.core.folders import atomic_folder
from organoseg.dataset.groups import GroupRule
from organoseg.io import find_images, write_instances
from organoseg.io.coco_json import parse_coco_instances
from organoseg.review.journal import create_journal
from organoseg.review.pictures import Picture, pictures_of_archive, pictures_of_files
from organoseg.review.project import FOUND, JOURNAL, PROJECT, Project, picture_record, with_found
from organoseg.review.queue import Found, Order, Turn, Weights, make_queue

Shown = Callable[[int, int], None]
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class _Predictions:
    """What a model found by image name, the classes, and who the model is."""

    instances: Mapping[str, Instances]
    classes: Mapping[int, str]
    model: str
    path: Path


def create_project(
    folder: Path | str,
    images: Sequence[Path] = (),
    *,
    archive: Path | None = None,
    predictions: Path | None = None,
    second: Path | None = None,
    model: str | None = None,
    classes: Mapping[int, str] | None = None,
    order: Order = "ranked",
    random_share: float = 0.2,
    seed: int = 0,
    weights: Weights = Weights(),  # noqa: B008 - frozen
    group: GroupRule | None = None,
    progress: Shown | None = None,
    notes: list[tuple[str, str]] | None = None,
) -> Project:
    """Make a project in ``folder``, which must be new or empty.

    images: files and folders, or ``archive``: an archive. predictions: the folder of an ``organoseg predict`` run or an
    instances.json, matched by name; without it every image begins empty. second: the same by another model, the teacher
    for example: where the two differ is looked at first. model: its identity, where the predictions do not say.
    weights: what the ranking goes by. group: gives an image's group from its name
    (`organoseg.dataset.groups.by_pattern`), else the reader's stands.
    progress: told (files read, files). notes: receives (name, reason) of what is left out.

    UsageError when the folder is taken or not exactly one of images and archive is given; DataError when no
    image can be read, or the predictions are damaged, of other images or of another size.
    """
    folder = Path(folder)
    if (not images) == (archive is None):
        raise UsageError("A review needs images or an archive", remedy="Give one of the two.")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            "There is something in this folder already",
            where=folder,
            remedy="Open it with `organoseg review status` if it is a review, or give a new folder.",
        )
    left_out: list[tuple[str, str]] = [] if notes is None else notes
    pictures = _pictures(images, archive, left_out, progress)
    if group is not None:
        pictures = [replace(p, group=group(p.name)) for p in pictures]
    first = _read(predictions, model)
    other = _read(second, None)
    found = _found(pictures, first, other, left_out)
    queue = make_queue(found, order, random_share, seed, weights)
    named = dict(classes or (first.classes if first else {1: "organoid"}))
    settings = {
        "model": first.model if first else "",
        "order": order,
        "random_share": random_share,
        "seed": seed,
        "classes": named,
    }
    _write(folder, pictures, {f.key: f.instances for f in found}, queue, settings)
    return Project.open(folder)


def _pictures(
    images: Sequence[Path],
    archive: Path | None,
    left_out: list[tuple[str, str]],
    progress: Shown | None,
) -> list[Picture]:
    if archive is not None:
        found: Iterable[Picture] = pictures_of_archive(Archive.open(archive))
    else:
        found = _of_files(find_images(images), left_out, progress)
    kept: dict[str, Picture] = {}
    for picture in found:
        twin = kept.setdefault(picture.key, picture)
        if twin is not picture:
            left_out.append((picture.name, f"the same picture as {twin.name}"))
    if not kept:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out[:_SHOWN])
        raise DataError(
            f"No image could be read: {reasons}", remedy="Export them again as TIFF or PNG."
        )
    names = [p.name for p in kept.values()]
    if len(set(names)) < len(
        names
    ):  # cannot happen for files; an archive may be made of several folders
        raise DataError("Two images of the archive have the same name", where=archive)
    return list(kept.values())


def _of_files(
    files: Sequence[Path], left_out: list[tuple[str, str]], progress: Shown | None
) -> Iterable[Picture]:
    root = Path(os.path.commonpath({str(p.resolve().parent) for p in files}))
    for number, path in enumerate(files, start=1):
        for picture, file, reason in pictures_of_files([path], root):
            if picture is None:
                left_out.append((str(file), reason))
            else:
                yield picture
        if progress is not None:
            progress(number, len(files))


def _read(path: Path | None, model: str | None) -> _Predictions | None:
    if path is None:
        return None
    path = Path(path)
    known = ""
    if path.is_dir():
        settings = path / "predict.json"
        if settings.is_file():
            stored = read_json(settings)
            known = str(stored.get("model", "")) if isinstance(stored, dict) else ""
        path = path / "instances.json"
    coco = parse_coco_instances(path)
    sources = {s for i in coco.instances.values() for s in i.sources if s.startswith("model:")}
    if not known and len(sources) == 1:
        known = sources.pop().removeprefix("model:")
    return _Predictions(coco.instances, coco.categories, model or known, path)


def _found(
    pictures: Sequence[Picture],
    first: _Predictions | None,
    second: _Predictions | None,
    left_out: list[tuple[str, str]],
) -> list[Found]:
    ours = _matched(pictures, first, left_out)
    theirs = _matched(pictures, second, left_out)
    return [
        Found(
            p.key,
            ours.get(p.key, Instances.empty(p.shape)),
            None if second is None else theirs.get(p.key, Instances.empty(p.shape)),
            p.look,
        )
        for p in pictures
    ]


def _matched(
    pictures: Sequence[Picture], given: _Predictions | None, left_out: list[tuple[str, str]]
) -> dict[str, Instances]:
    """Predictions by picture: of the same name, else of the same file name where that is unmistakable."""
    if given is None:
        return {}
    full = {p.name: p for p in pictures}
    short: dict[str, list[Picture]] = {}
    for p in pictures:
        short.setdefault(p.name.rpartition("/")[2], []).append(p)
    matched: dict[str, Instances] = {}
    for name, instances in given.instances.items():
        alike = short.get(name.rpartition("/")[2], [])
        picture = full.get(name) or (alike[0] if len(alike) == 1 else None)
        if picture is None or picture.key in matched:
            left_out.append((name, f"{given.path.name} has it, but there is no such image"))
            continue
        if instances.shape != picture.shape:
            raise DataError(
                f"The predictions for {name} are for an image of {instances.shape}, but it is {picture.shape}",
                where=given.path,
                remedy="Give the images that were segmented, not scaled copies.",
            )
        matched[picture.key] = instances
    if not matched:
        raise DataError(
            "The predictions are not of these images: no name is the same",
            where=given.path,
            remedy="Give the images that were segmented.",
        )
    return matched


def _write(
    folder: Path,
    pictures: Sequence[Picture],
    found: Mapping[str, Instances],
    queue: Sequence[Turn],
    settings: Mapping[str, Any],
) -> None:
    """All beside, then renamed: a project is whole or not there."""
    from organoseg import __version__

    project = secrets.token_hex(16)
    by_key = {p.key: p for p in with_found(pictures, {t.image for t in queue if t.random})}
    with atomic_folder(folder) as made:
        for key, instances in found.items():
            if len(instances):
                classes = settings["classes"]
                write_instances(
                    made / FOUND / f"{key}.json", [(by_key[key].name, instances)], classes
                )
        create_journal(made / JOURNAL, project, created=_now(), version=__version__)
        facts = {
            "format": "organoseg review 1",
            "id": project,
            "created": _now(),
            "version": __version__,
            **settings,
            "pictures": [
                picture_record(
                    folder,
                    by_key[t.image],
                    priority=t.priority,
                    organoids=t.organoids,
                    priorities=t.priorities,
                    reasons=t.reasons,
                )
                for t in queue
            ],
        }
        write_json(made / PROJECT, facts, indent=None)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
