"""Public sets: pinned, checked, resumed, and nothing claimed that nobody has seen."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

import pytest

from organoseg.core import DataError, UsageError
from organoseg.dataset.sources import IMPORTERS, import_source
from organoseg.dataset.sources.catalogue import CATALOGUE, PublicSet, public_set
from organoseg.dataset.sources.fetch import fetch_set, place_of
from tests.dataset.sources import written
from tests.io.test_download import Server
from tests.io.test_download import server as server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORGANOSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ORGANOSEG_OFFLINE", raising=False)
    return tmp_path / "cache"


def here(server: Server, content: bytes | None = None, **facts: object) -> PublicSet:
    """OrgaSegment, but on the server of the test."""
    if content is not None:
        server.content = content
    facts = {"url": server.url, "file": "set.zip", "checksum": None, "checksum_by": "", **facts}
    return dataclasses.replace(CATALOGUE["orgasegment"], **facts)  # type: ignore[arg-type]


def test_the_catalogue_says_where_from_and_on_what_terms() -> None:
    for name, public in CATALOGUE.items():
        assert name == public.name == name.lower()
        assert public.page.startswith("https://")
        assert public.holds
        assert public.form in {"auto", *IMPORTERS}
        assert public.url is None or (public.url.startswith("https://") and public.file)
        assert public.checksum is None or re.fullmatch("sha256:[0-9a-f]{64}", public.checksum)
        assert public.checksum is None or public.checksum_by
    with pytest.raises(UsageError, match="no public set called 'orgasegmnt'"):
        public_set("orgasegmnt")


def test_a_set_is_fetched_once_and_imported_as_its_catalogue_says(
    server: Server, tmp_path: Path, cache: Path
) -> None:
    folder = tmp_path / "OrganoidBasic"
    for seed, side in enumerate(("train", "val", "eval")):
        written.image(folder / side / "a_img.jpg", seed)
        written.label_image(folder / side / "a_masks_organoid.png")
    content = written.zipped(folder, tmp_path / "x.zip", "OrganoidBasic/").read_bytes()
    public = here(server, content, checksum=f"sha256:{hashlib.sha256(content).hexdigest()}")
    path, word = fetch_set(public)
    assert path == place_of(public) == cache / "data" / "orgasegment" / "set.zip"
    assert word == "the sha256 is the published one"
    assert fetch_set(public)[0] == path
    assert server.asked == [None]
    report = import_source(path, tmp_path / "out", public.rules, public.form, below=public.below)
    assert dict(report.sides) == {"train": 1, "validation": 1, "test": 1}


def test_a_checksum_that_differs_leaves_nothing(server: Server, cache: Path) -> None:
    with pytest.raises(DataError, match=r"not the published one \(sha256\)"):
        fetch_set(here(server, checksum="sha256:" + "0" * 64))
    assert not place_of(here(server)).exists()


def test_a_set_without_a_checksum_is_recorded_and_that_is_said(server: Server) -> None:
    public = here(server)
    path, word = fetch_set(public)
    assert "no checksum is known" in word
    assert "first use" in fetch_set(public)[1]
    path.write_bytes(b"another file")
    with pytest.raises(DataError, match="not the one that was first used here"):
        fetch_set(public)


def test_a_download_that_stops_goes_on(server: Server, tmp_path: Path) -> None:
    public = here(server, checksum=f"sha256:{hashlib.sha256(server.content).hexdigest()}")
    server.cut = 400_000
    with pytest.raises(DataError, match="ended after 400000 of 1048576"):
        fetch_set(public, tmp_path / "own")
    assert not (tmp_path / "own" / "set.zip").exists()
    server.cut = None
    path, _ = fetch_set(public, tmp_path / "own")
    assert path.read_bytes() == server.content
    assert server.asked == [None, "bytes=400000-"]


def test_a_set_that_is_gone_is_named(server: Server) -> None:
    with pytest.raises(DataError, match="404"):
        fetch_set(here(server, url=server.url.replace("weights", "other")))


def test_what_only_a_person_can_download_is_explained() -> None:
    with pytest.raises(DataError, match=r"cannot be downloaded.*--set m-orgaquant") as caught:
        fetch_set(CATALOGUE["m-orgaquant"])
    assert caught.value.where == CATALOGUE["m-orgaquant"].page


def test_downloads_can_be_forbidden(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORGANOSEG_OFFLINE", "1")
    with pytest.raises(DataError, match="ORGANOSEG_OFFLINE forbids"):
        fetch_set(here(server))
    assert server.asked == []


def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match="cannot be written"):
        fetch_set(here(server), tmp_path / "file" / "x")


def test_organoid_is_read_by_pieces_below_its_own_folder(tmp_path: Path) -> None:
    public = CATALOGUE["organoid"]
    base = tmp_path / "in" / "OriginalData"
    for seed, side in enumerate(("training/pre_augmented", "validation", "testing")):
        written.image(base / side / "images" / "1.png", seed)
        foreground = (written.organoids().render() > 0).astype("uint8") * 255
        written.label_image(base / side / "segmentations" / "1.png", foreground)
    written.image(tmp_path / "in" / "GemcitabineScreen" / "images" / "1.png", 9)
    report = import_source(
        tmp_path / "in", tmp_path / "out", public.rules, public.form, below=public.below
    )
    assert dict(report.sides) == {"train": 1, "validation": 1, "test": 1}
    assert sum(report.organoids.values()) == 6
