"""A review that travels: pack it for a machine without the images, and merge what comes back."""

from __future__ import annotations

import io
import json
import re
import secrets
import shutil
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tifffile

from organoseg.core import DataError, UsageError, atomic_write, write_json
from organoseg.core.files import read_json
from organoseg.core.folders import atomic_folder
from organoseg.io import unzip
from organoseg.io.unzip import Rules
from organoseg.review.history import Entry, History
from organoseg.review.journal import read_journal
from organoseg.review.pictures import Reader
from organoseg.review.project import FOUND, JOURNAL, PICTURES, PROJECT, Project
from organoseg.review.session import ReviewSession

_BUNDLE = Rules(
    thing="bundle",
    refused="This is not a bundle that organoseg made",
    ask="Do not open it, and ask whoever sent it.",
    mend="Copy it again, or pack it again.",
    by_hand="Do not open it, and ask whoever sent it.",
    names=re.compile(
        "|".join(
            (
                re.escape(PROJECT),
                re.escape(JOURNAL),
                rf"{FOUND}/[0-9a-f]{{64}}\.json",
                rf"{PICTURES}/[0-9a-f]{{64}}\.tif",
            )
        )
    ),
    foreign="is no part of a review",
    needed=frozenset({PROJECT, JOURNAL}),
    ratio=1000,  # no review has such a file; a bomb has
)


def pack(
    project: Project | Path | str, out: Path | str, images: Collection[str] | None = None
) -> Path:
    """Write a project with its images into one zip file, and return its path.

    images: keys of the pictures to take, all where None. They become lossless TIFFs of the planes that are reviewed.
    Raises DataError when an image is missing or has changed, UsageError for a key that the project lacks, RunError when
    the file cannot be written.
    """
    project = project if isinstance(project, Project) else Project.open(project)
    chosen = [p for p in project.pictures if images is None or p.key in images]
    for key in images or ():
        project.picture(key)
    if not chosen:
        raise UsageError("No image was chosen for the bundle")
    facts = project.facts.model_dump(mode="json")
    wanted = {p.key for p in chosen}
    facts["pictures"] = [
        {**p, "place": {"path": f"{PICTURES}/{p['key']}.tif", "near": f"{PICTURES}/{p['key']}.tif"}}
        for p in facts["pictures"]
        if p["key"] in wanted
    ]
    journal = read_journal(project.journal_path, project.id)
    text = project.journal_path.read_bytes()[: journal.size]
    reader = Reader()
    with atomic_write(out) as handle, zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr(PROJECT, json.dumps(facts))
        bundle.writestr(JOURNAL, text)
        for picture in chosen:
            stored = project.folder / FOUND / f"{picture.key}.json"
            if stored.exists():
                bundle.write(stored, f"{FOUND}/{picture.key}.json")
            data = io.BytesIO()
            tifffile.imwrite(data, reader.read(picture).plane(), compression="zlib")
            name = zipfile.ZipInfo(f"{PICTURES}/{picture.key}.tif")  # compressed already
            bundle.writestr(name, data.getvalue())
    return Path(out)


def unpack(bundle: Path | str, folder: Path | str) -> Project:
    """Make a project of a bundle in ``folder``, which must be new or empty.

    Raises UsageError when the folder is taken; DataError when the file is no bundle, is damaged, or holds anything
    that a bundle does not (paths that lead out, links, doubles): nothing is written then.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "There is something there already", where=folder, remedy="Give a new folder."
        )
    with atomic_folder(folder) as made:
        unzip.unpack(Path(bundle), made, _BUNDLE)
        _settle(made, folder)
        project = Project.open(made)
        read_journal(project.journal_path, project.id)
    return Project.open(folder)


def _settle(made: Path, folder: Path) -> None:
    """Places in ``project.json`` as they will be in ``folder``, whatever the bundle says."""
    facts = read_json(made / PROJECT)
    try:
        for picture in facts["pictures"]:
            name = f"{PICTURES}/{picture['key']}.tif"
            picture["place"] = {"path": str(folder.resolve() / name), "near": name}
    except (KeyError, TypeError) as error:
        raise DataError("The bundle's project is damaged", where=PROJECT) from error
    write_json(made / PROJECT, facts, indent=None)


@dataclass
class MergeReport:
    """Names of images: ``taken`` over, already the ``same``, ``refused`` with the reason; lines that were added."""

    taken: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    lines: int = 0


def merge(project: Path | str, other: Path | str, reviewer: str | None = None) -> MergeReport:
    """Take the decisions of ``other``, a bundle or a folder of the same project, into ``project``.

    An image is taken whole: where only one side worked on since the two parted, that work stands; where both did, ours
    stands and the image is refused in the report. Merging twice adds nothing.

    Raises UsageError when the project is open elsewhere; DataError when ``other`` is damaged or of another project.
    """
    other = Path(other)
    if not other.is_dir():
        with_folder = Path(project) / f".tmp-{secrets.token_hex(8)}"
        try:
            unpacked = unpack(other, with_folder / "bundle")
            return _merge(Path(project), unpacked, reviewer)
        finally:
            shutil.rmtree(with_folder, ignore_errors=True)
    return _merge(Path(project), Project.open(other), reviewer)


def _merge(folder: Path, other: Project, reviewer: str | None) -> MergeReport:
    with ReviewSession.open(folder, reviewer) as session:
        if session.read_only:
            raise UsageError(
                "The project cannot be changed now", where=folder, remedy=session.notice
            )
        project = session.project
        if other.id != project.id:
            raise DataError(
                "This is a review of another project",
                where=other.folder,
                remedy="Merge it into the project that it was packed from.",
            )
        theirs = History(read_journal(other.journal_path, other.id).lines)
        return _take(session, theirs)


def _take(session: ReviewSession, theirs: History) -> MergeReport:
    report, project = MergeReport(), session.project
    for key in theirs.images:
        name = project.picture(key).name
        ours, coming = session.history.of_image(key), theirs.of_image(key)
        shared = [_sense(e, ours) for e in ours], [_sense(e, coming) for e in coming]
        length = min(len(ours), len(coming))
        if shared[0][:length] != shared[1][:length]:
            report.refused.append(
                (name, "it was worked on here and there; what was done here stands")
            )
        elif len(coming) <= len(ours):
            report.same.append(name)
        else:
            try:
                theirs.fold(key, project.first_state(key))
            except DataError as error:
                report.refused.append((name, str(error)))
                continue
            session.adopt(coming[len(ours) :], [e.number for e in coming[: len(ours)]])
            report.taken.append(name)
            report.lines += len(coming) - len(ours)
    return report


def _sense(entry: Entry, entries: Collection[Entry]) -> dict[str, Any]:
    """What an entry says, without numbers that depend on other images."""
    record = entry.record()
    record.pop("n")
    if entry.of is not None:
        record["of"] = [e.number for e in entries].index(entry.of)
    return json.loads(json.dumps(record))  # type: ignore[no-any-return]
