"""Journals and projects that were cut, swapped, altered or made up; images that moved or changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from organoseg.core import DataError, Instances, Mask, OrganosegError, UsageError
from organoseg.io import write_instances
from organoseg.review import Project, ReviewSession, create_project
from organoseg.review.journal import seal

SIDE = 40


def block(y: int, x: int, side: int = 8) -> Mask:
    return Mask(y, x, np.ones((side, side), bool))


def make(folder: Path, seed: int = 0, organoids: int = 3) -> Path:
    """A project over one image with organoids and one without."""
    images = folder / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(images / name, rng.integers(0, 255, (SIDE, SIDE), dtype=np.uint8))
    masks = [block(2 + k % 29, 3 + k // 29 % 29) for k in range(organoids)]
    found = [("a.tif", Instances.from_masks((SIDE, SIDE), masks, scores=[0.5] * organoids))]
    write_instances(folder / "found.json", found)
    create_project(folder / "review", [images], predictions=folder / "found.json")
    return folder / "review"


def key_of(project: Path, name: str = "a.tif") -> str:
    return next(p.key for p in Project.open(project).pictures if p.name == name)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with six actions."""
    project = make(tmp_path_factory.mktemp("original"))
    with ReviewSession.open(project, "Ada") as session:
        session.go(key_of(project))
        session.accept(1)
        session.replace(block(20, 20), 2)
        session.draw(block(30, 5, 3))
        session.split([block(2, 3, 2), block(5, 5, 2)], 1)
        session.undo()
        session.reject(3)
    return project


@pytest.fixture
def project(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original.parent, tmp_path / "copy")
    return tmp_path / "copy" / "review"


def opened(project: Path) -> tuple[int, dict[int, Any], str]:
    with ReviewSession.open(project, "Ada") as session:
        organoids = session.state(key_of(project)).organoids
        stand = {n: (o.status, o.mask.box, o.mask.area) for n, o in organoids.items()}
        return len(session.history), stand, session.notice


def prefixes(project: Path) -> list[dict[int, Any]]:
    """What stands after each number of lines."""
    journal = project / "journal.jsonl"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    states = []
    for count in range(1, len(lines) + 1):
        journal.write_bytes(b"".join(lines[:count]))
        states.append(opened(project)[1])
    return states


def test_cut_anywhere(project: Path) -> None:
    """However the file ends: whole lines count, the rest of the last is kept aside, and the reviewer is told."""
    journal = project / "journal.jsonl"
    whole = journal.read_bytes()
    states = prefixes(project)
    head = whole.index(b"\n") + 1
    for size in [*range(head, len(whole), 41), len(whole) - 1]:
        journal.write_bytes(whole[:size])
        lines, stand, notice = opened(project)
        assert stand == states[lines]
        ends = whole[:size].endswith(b"\n")
        assert lines == whole[:size].count(b"\n") - 1
        assert (notice == "") == ends
        if not ends:
            assert "only half written" in notice
            aside = next(p for p in project.glob("journal-cut-*") if p.name in notice)
            assert aside.read_bytes() == whole[whole[:size].rindex(b"\n") + 1 : size]
        # Opening mends it: the next line starts on its own.
        assert journal.read_bytes() == whole[: whole[:size].rindex(b"\n") + 1]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_an_altered_byte_is_seen(
    original: Path, tmp_path_factory: Any, data: st.DataObject
) -> None:
    """A journal is never read as something that was not done."""
    folder = tmp_path_factory.mktemp("altered")
    shutil.copytree(original.parent, folder / "copy")
    project = folder / "copy" / "review"
    states = prefixes(project)
    journal = project / "journal.jsonl"
    whole = bytearray((original / "journal.jsonl").read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    journal.write_bytes(whole)
    at_end = place >= bytes(whole).rstrip(b"\n").rindex(b"\n") + 1
    if at_end and whole.count(b"\n", 0, -1) == len(states) - 1:
        lines, stand, notice = opened(project)
        assert lines == len(states) - 2, "only the last line can go"
        assert stand == states[lines]
        assert notice
        return
    with pytest.raises(DataError, match="journal"):
        opened(project)
    assert journal.read_bytes() == bytes(whole), "nothing is repaired by guessing"


FAULTS: dict[str, tuple[Any, str]] = {
    "gone": (lambda p: p.unlink(), "has no journal"),
    "empty": (lambda p: p.write_bytes(b""), "first line is damaged"),
    "text": (lambda p: p.write_text("my notes\nof today\n"), "first line is damaged"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "cannot be read"),
    "no head": (lambda p: p.write_bytes(p.read_bytes().split(b"\n", 1)[1]), "journal"),
    "from the future": (
        lambda p: p.write_bytes(seal({"format": "organoseg review journal 9", "project": "x"})),
        "does not know",
    ),
    "a line lost": (
        lambda p: p.write_bytes(b"".join(p.read_bytes().splitlines(True)[:2] + p.read_bytes().splitlines(True)[3:])),
        "follows line",
    ),
    "a line twice": (
        lambda p: p.write_bytes(p.read_bytes() + p.read_bytes().splitlines(True)[-1]),
        "follows line",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_journals(project: Path, fault: str) -> None:
    spoil, words = FAULTS[fault]
    spoil(project / "journal.jsonl")
    with pytest.raises(DataError, match=words) as caught:
        opened(project)
    assert caught.value.where is not None
    assert caught.value.remedy, "somebody has to know what to do"


def test_another_projects_journal(project: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", seed=1)
    shutil.copy(other / "journal.jsonl", project / "journal.jsonl")
    with pytest.raises(DataError, match="belongs to another review project"):
        opened(project)


MASK = {"box": [1, 1, 2, 2], "counts": "04"}
MADE = {
    "mask": MASK,
    "status": "accepted",
    "category": 1,
    "score": 1.0,
    "source": "",
    "edited": True,
    "parents": [],
}
CHANGES: dict[str, Any] = {
    "fine": {"ids": [9], "before": None, "after": MADE},
    "not there": {"ids": [99], "before": {"status": "unseen"}, "after": {"status": "accepted"}},
    "there already": {"ids": [1], "before": None, "after": MADE},
    "unknown field": {"ids": [9], "before": None, "after": {**MADE, "evil": 1}},
    "no mask": {"ids": [9], "before": None, "after": {"status": "accepted"}},
    "a status": {"ids": [1], "before": {}, "after": {"status": "praised"}},
    "outside": {"ids": [9], "before": None, "after": {**MADE, "mask": {**MASK, "box": [39, 39, 2, 2]}}},
    "below zero": {"ids": [9], "before": None, "after": {**MADE, "mask": {**MASK, "box": [-1, 0, 2, 2]}}},
    "a huge box": {"ids": [9], "before": None, "after": {**MADE, "mask": {**MASK, "box": [0, 0, 1 << 19, 1 << 19]}}},
    "half a pixel": {"ids": [9], "before": None, "after": {**MADE, "mask": {**MASK, "box": [0, 0, 1.5, 2]}}},
    "no counts": {"ids": [9], "before": None, "after": {**MADE, "mask": {"box": [0, 0, 2, 2]}}},
    "counts of words": {"ids": [9], "before": None, "after": {**MADE, "mask": {**MASK, "counts": "ä ö"}}},
    "an id of words": {"ids": ["one"], "before": None, "after": MADE},
    "a huge id": {"ids": [1 << 70], "before": None, "after": MADE},
    "an id below one": {"ids": [-3], "before": None, "after": MADE},
    "a list": [],
    "after a list": {"ids": [1], "before": {}, "after": [1, 2]},
    "a score of words": {"ids": [9], "before": None, "after": {**MADE, "score": "high"}},
    "a class of words": {"ids": [1], "before": {}, "after": {"category": "cyst"}},
    "an unknown class": {"ids": [1], "before": {}, "after": {"category": 77}},
    "parents of words": {"ids": [1], "before": {}, "after": {"parents": ["x"]}},
    "a changed id": {"ids": [1], "before": {}, "after": {"id": 5}},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_made_up_lines(tmp_path: Path, change: str) -> None:
    """Lines whose checksum is right but whose content cannot be: an error in words, never a wrong mask."""
    project = make(tmp_path)
    line = {"n": 1, "action": "draw", "image": key_of(project), "changes": [CHANGES[change]]}
    with (project / "journal.jsonl").open("ab") as journal:
        journal.write(seal(line))
    if change == "fine":
        assert opened(project)[1][9][0] == "accepted"
        return
    with pytest.raises(DataError) as caught:
        opened(project)
    assert "ournal" in str(caught.value), "which file is at fault"


@pytest.mark.parametrize(
    "line",
    [
        {"n": 1, "action": "undo", "image": "KEY", "of": 1},
        {"n": 1, "action": "dance", "image": "KEY"},
        {"n": 2, "action": "accept", "image": "KEY"},
        {"action": "accept", "image": "KEY"},
        {"n": 1, "action": "complete", "image": "KEY", "complete": "yes"},
        {"n": 1, "action": "accept", "image": "KEY", "seconds": "NaN and more"},
        {"n": 1, "action": "accept", "image": ["KEY"]},
    ],
)
def test_made_up_actions(tmp_path: Path, line: dict[str, Any]) -> None:
    project = make(tmp_path)
    text = json.dumps(line).replace("KEY", key_of(project))
    with (project / "journal.jsonl").open("ab") as journal:
        journal.write(seal(json.loads(text)))
    with pytest.raises(DataError):
        opened(project)


def test_lines_of_an_absent_image(tmp_path: Path) -> None:
    """A bundle of some of the images brings the whole journal: the others' lines count, and nothing else."""
    project = make(tmp_path)
    line = {"n": 1, "action": "draw", "image": "f" * 64, "changes": [CHANGES["fine"]]}
    with (project / "journal.jsonl").open("ab") as journal:
        journal.write(seal(line))
    with ReviewSession.open(project, "Ada") as session:
        assert session.undo() is None
        assert session.history.images == []
        session.go(key_of(project))
        session.accept(1)
    with ReviewSession.open(project, "Ada") as session:
        assert len(session.history) == 2
        outcome = session.undo()
        assert outcome is not None
        assert outcome.image == key_of(project)


def test_images_that_moved(tmp_path: Path) -> None:
    project = make(tmp_path / "made")
    images = project.parent / "images"
    key = key_of(project)
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    moved = tmp_path / "elsewhere" / "deep" / "renamed.tif"
    shutil.move(images / "a.tif", moved)
    with ReviewSession.open(project, "Ada") as session:
        assert session.state(key).organoids, "what was decided is there without the pixels"
        with pytest.raises(DataError, match="no longer where it was") as caught:
            session.load(key)
    assert caught.value.remedy
    missing = Project.open(project).find_images(tmp_path / "elsewhere")
    assert missing == []
    with ReviewSession.open(project, "Ada") as session:
        assert session.load(key).shape == (SIDE, SIDE)
        assert session.project.picture(key).path == moved


def test_the_whole_folder_moves(tmp_path: Path) -> None:
    shutil.move(make(tmp_path / "made").parent, tmp_path / "new place")
    with ReviewSession.open(tmp_path / "new place" / "review", "Ada") as session:
        assert session.load(key_of(tmp_path / "new place" / "review")).shape == (SIDE, SIDE)


def test_images_that_changed(tmp_path: Path) -> None:
    project = make(tmp_path)
    path = project.parent / "images" / "a.tif"
    plane = tifffile.imread(path)
    plane[0, 0] ^= 1
    tifffile.imwrite(path, plane)
    with (
        ReviewSession.open(project, "Ada") as session,
        pytest.raises(DataError, match="pixels have changed"),
    ):
        session.load(key_of(project))
    path.write_bytes(b"not an image")
    with ReviewSession.open(project, "Ada") as session, pytest.raises(DataError):
        session.load(key_of(project))


def test_an_image_without_organoids(project: Path) -> None:
    with ReviewSession.open(project, "Ada") as session:
        session.go(key_of(project, "b.tif"))
        assert session.place.organoid is None
        for act in (session.accept, session.reject, session.delete):
            with pytest.raises(UsageError, match="No organoid"):
                act()
        session.draw(block(4, 4))
        session.complete()
        assert session.state().complete


def test_2000_organoids(tmp_path: Path) -> None:
    project = make(tmp_path, organoids=2000)
    with ReviewSession.open(project, "Ada") as session:
        key = key_of(project)
        session.go(key)
        for _ in range(20):
            session.accept()
            session.next()
        number = session.place.organoid
        session.complete(accept_rest=True)
        assert not session.state().unseen
        session.undo()
        assert len(session.state().unseen) == 1980
        assert number in session.state().unseen
    assert opened(project)[0] == 22


def test_projects_that_are_none(tmp_path: Path, project: Path) -> None:
    with pytest.raises(DataError, match="not a review project"):
        ReviewSession.open(tmp_path)
    facts = json.loads((project / "project.json").read_text())
    for spoil in (
        {"format": "organoseg review 9"},
        {"pictures": []},
        {"pictures": [{**facts["pictures"][0], "key": "../../../etc/passwd"}]},
        {"classes": {}},
        {"id": 7},
    ):
        (project / "project.json").write_text(json.dumps({**facts, **spoil}))
        with pytest.raises(OrganosegError, match="damaged, or of another version"):
            ReviewSession.open(project)
    (project / "project.json").write_text("{")
    with pytest.raises(DataError, match="Not valid JSON"):
        ReviewSession.open(project)
