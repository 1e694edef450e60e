from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from organoseg.core import DataError, UsageError
from organoseg.review import Project, ReviewSession
from organoseg.review.bundle import merge, pack, unpack
from tests.review.small import hashes, make_project, square


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def test_a_review_goes_to_a_laptop_without_the_images_and_comes_back(
    tmp_path: Path, project: Project
) -> None:
    first, second, _ = (p.key for p in project.pictures)
    with ReviewSession.open(project, "anna") as session:
        session.accept()
        session.undo()
        session.reject()
    pack(project, tmp_path / "b.zip")
    there = unpack(tmp_path / "b.zip", tmp_path / "laptop" / "P")
    (tmp_path / "images").rename(tmp_path / "hidden")
    with ReviewSession.open(there, "ben") as session:
        assert session.load(second).shape == (64, 64)
        session.go(second)
        session.draw(square(1, 1, 4))
        session.undo()
        session.redo()
        session.complete(accept_rest=True)
        expected = session.state(second).instances().to_rles()
    with ReviewSession.open(project, "anna") as session:
        session.go(first)
        session.accept(project.turn(first).organoids[1])
    pack(there, tmp_path / "back.zip")
    report = merge(project.folder, tmp_path / "back.zip")
    assert report.taken == [project.picture(second).name]
    assert report.lines == 4
    assert report.refused == []
    with ReviewSession.open(project.folder, "anna") as session:
        assert session.state(second).instances().to_rles() == expected
        assert session.state(second).complete
        assert session.state(first).organoids[project.turn(first).organoids[1]].status == "accepted"
        assert session.history.of_image(second)[-1].reviewer == "ben"
        before = len(session.history)
        assert session.undo() is not None
        session.redo()
    again = merge(project.folder, tmp_path / "back.zip")
    assert again.taken == []
    with ReviewSession.open(project.folder) as session:
        assert len(session.history) == before + 2
    assert not list((project.folder).glob(".tmp-*"))


def test_an_image_that_both_worked_on_stays_as_it_is_here(tmp_path: Path, project: Project) -> None:
    pack(project, tmp_path / "b.zip")
    there = unpack(tmp_path / "b.zip", tmp_path / "there")
    for copy, action in ((project, "accept"), (there, "reject")):
        with ReviewSession.open(copy) as session:
            getattr(session, action)()
    before = hashes(project.folder)
    report = merge(project.folder, there.folder)
    assert [name for name, _ in report.refused] == [project.pictures[0].name]
    assert hashes(project.folder)["journal.jsonl"] == before["journal.jsonl"]


def test_another_projects_review_is_refused(tmp_path: Path, project: Project) -> None:
    other = make_project(tmp_path / "other")
    with pytest.raises(DataError, match="another project"):
        merge(project.folder, other.folder)


def test_merging_into_an_open_project_is_refused(tmp_path: Path, project: Project) -> None:
    pack(project, tmp_path / "b.zip")
    with (
        ReviewSession.open(project, "anna"),
        pytest.raises(UsageError, match="cannot be changed now"),
    ):
        merge(project.folder, tmp_path / "b.zip")


def hostile(kind: str, good: Path, bad: Path) -> None:
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as sink:
        for member in source.infolist():
            sink.writestr(member, source.read(member))
        if kind == "link":
            member = zipfile.ZipInfo(f"images/{'0' * 64}.tif")
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            sink.writestr(member, "/etc/passwd")
        elif kind == "bomb":
            sink.writestr(f"found/{'0' * 64}.json", b"0" * (8 << 20))
        elif kind == "double":
            sink.writestr("journal.jsonl", b"x")
        else:
            sink.writestr(kind, b"x")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "kind",
    [
        "../evil.txt",
        "/etc/evil",
        "images/../../evil.tif",
        "C:\\evil.txt",
        "found/evil.py",
        "images/" + "a" * 64 + ".tif/x",
        "link",
        "bomb",
        "double",
    ],
)
def test_a_hostile_bundle_is_refused_and_leaves_nothing(
    tmp_path: Path, project: Project, kind: str
) -> None:
    pack(project, tmp_path / "b.zip")
    hostile(kind, tmp_path / "b.zip", tmp_path / "bad.zip")
    before = hashes(tmp_path)
    for action in (
        lambda: unpack(tmp_path / "bad.zip", tmp_path / "new"),
        lambda: merge(project.folder, tmp_path / "bad.zip"),
    ):
        with pytest.raises(DataError, match="not a bundle that organoseg made"):
            action()
    assert hashes(tmp_path) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all" * 100])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        unpack(tmp_path / "b.zip", tmp_path / "P")
    assert not (tmp_path / "P").exists()


def test_a_damaged_zip_is_refused(tmp_path: Path, project: Project) -> None:
    path = pack(project, tmp_path / "b.zip")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="damaged"):
        unpack(path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_bundle_without_its_journal_is_refused(tmp_path: Path, project: Project) -> None:
    pack(project, tmp_path / "b.zip")
    with (
        zipfile.ZipFile(tmp_path / "b.zip") as source,
        zipfile.ZipFile(tmp_path / "bad.zip", "w") as sink,
    ):
        for member in source.infolist():
            if member.filename != "journal.jsonl":
                sink.writestr(member, source.read(member))
    with pytest.raises(DataError, match=r"The bundle has no journal\.jsonl.*pack it again"):
        unpack(tmp_path / "bad.zip", tmp_path / "new")
    assert not (tmp_path / "new").exists()
