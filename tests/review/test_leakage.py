"""Whatever is reviewed, in whatever order: no group and no picture gets onto two sides, and a test set onto none."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from organoseg.core import Instances, Mask
from organoseg.dataset import Split, load_coco
from organoseg.io import read_image, write_instances
from organoseg.review import ReviewSession, create_project, export_project

SHAPE = (16, 20)
#: 20 in the suite; 1000 by hand: ORGANOSEG_MANIFESTS=1000.
MANIFESTS = int(os.environ.get("ORGANOSEG_MANIFESTS", "20"))


class Entry(NamedTuple):
    """One file: which picture, of which group, and how far its review goes (0 not at all, 1 in part, 2 complete)."""

    picture: int
    group: int
    reviewed: int


class Manifest(NamedTuple):
    """Reviews that are exported one after the other (some of them again), and a test set."""

    reviews: list[list[Entry]]
    test: list[tuple[int, int]]
    validation: float
    again: list[int]


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    entry = st.builds(Entry, st.integers(0, 9), st.integers(0, 4), st.integers(0, 2))
    reviews = draw(st.lists(st.lists(entry, min_size=1, max_size=6), min_size=1, max_size=3))
    test = draw(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 5)), max_size=2))
    again = draw(st.lists(st.integers(0, len(reviews) - 1), max_size=2))
    return Manifest(reviews, test, draw(st.sampled_from([0.0, 0.2, 0.5, 0.9])), again)


def draw_picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    plane = np.random.default_rng(number).integers(0, 65535, SHAPE, dtype=np.uint16)
    tifffile.imwrite(path, plane)


def review(folder: Path, entries: list[Entry]) -> Path:
    """A project whose images are reviewed as the entries say. A file's folder is its group."""
    wanted = {}
    for number, entry in enumerate(entries):
        name = f"group {entry.group}/{number}.tif"
        draw_picture(folder / "images" / name, entry.picture)
        wanted[name.rpartition("/")[2]] = entry.reviewed
    # One more folder, so that names are always seen from `images`.
    draw_picture(folder / "images" / "odd" / "odd.tif", 1000 + len(entries))
    create_project(folder / "review", [folder / "images"])
    with ReviewSession.open(folder / "review", "Ada") as session:
        for picture in session.project.pictures:
            done = wanted.get(picture.name.rpartition("/")[2], 0)
            session.go(picture.key)
            if done:
                session.draw(Mask(2, 3, np.ones((5, 6), bool)))
            if done == 2:
                session.complete()
    return folder / "review"


def held_out(folder: Path, entries: list[tuple[int, int]]) -> tuple[Path, Path] | None:
    pairs = []
    for number, (picture, group) in enumerate(entries):
        draw_picture(folder / f"group {group}" / f"{number}.tif", picture)
        pairs.append((f"group {group}/{number}.tif", Instances.empty(SHAPE)))
    if not pairs:
        return None
    write_instances(folder / "labels.json", pairs)
    return folder / "labels.json", folder


def check(dataset: Path, manifest: Manifest, groups: dict[str, str]) -> None:
    """Read what training would read."""
    if not (dataset / "labels.json").exists():
        return
    subsets: dict[str, list[str]] = json.loads((dataset / "subsets.json").read_text())
    whole = load_coco(dataset / "labels.json", dataset / "images")
    hashes = {item.name: item.image.identity for item in whole}
    split = Split.load(dataset / "split.json")
    assert sorted(n for names in subsets.values() for n in names) == sorted(hashes)
    assert len(set(hashes.values())) == len(hashes), "a picture twice"
    sides: dict[str, set[str]] = {"train": set(), "validation": set()}
    for side, names in subsets.items():
        for name in names:
            assert split.sides[name] == side
            sides[side].add(split.groups[name])
    assert not sides["train"] & sides["validation"]
    for picture, group in manifest.test:
        assert f"group {group}" not in sides["train"] | sides["validation"]
        assert picture_hash(picture) not in hashes.values()
    partly = {item.name for item in whole if item.ignored is not None}
    assert not partly & set(subsets.get("validation", [])), "what measures is complete"
    if not manifest.validation:
        assert not sides["validation"]
    groups_now = dict(split.groups)
    assert groups.items() <= groups_now.items(), "a side is decided once"
    groups.update(groups_now)


def picture_hash(number: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.tif"
        draw_picture(path, number)
        return read_image(path).identity


@settings(max_examples=MANIFESTS, deadline=None)
@given(manifests())
def test_nothing_leaks(manifest: Manifest) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        held: Any = held_out(folder / "test", manifest.test)
        dataset, groups = folder / "dataset", dict[str, str]()
        projects = [review(folder / f"{n}", e) for n, e in enumerate(manifest.reviews)]
        for project in projects:
            export_project(project, dataset, validation=manifest.validation, held_out=held)
            check(dataset, manifest, groups)
        for number in manifest.again:
            before = {p: p.read_bytes() for p in dataset.rglob("*.json")}
            report = export_project(
                projects[number], dataset, validation=manifest.validation, held_out=held
            )
            assert not report.added
            assert not report.updated
            assert {p: p.read_bytes() for p in dataset.rglob("*.json")} == before
            check(dataset, manifest, groups)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
