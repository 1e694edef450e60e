"""Archives from strangers: nothing gets out, nothing grows, and nothing is written of one that is refused."""

from __future__ import annotations

import re
import stat
import zipfile
from pathlib import Path

import pytest

from organoseg.core import DataError
from organoseg.io import unzip
from organoseg.io.unzip import Rules, opened, unpack


def packed(path: Path, *names: str, data: bytes = b"content") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name in names:
            bundle.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def test_what_is_packed_comes_out(tmp_path: Path) -> None:
    unpack(packed(tmp_path / "a.zip", "one/a.txt", "one/two/b.txt", "ö.txt"), tmp_path / "out")
    found = sorted(
        p.relative_to(tmp_path / "out").as_posix()
        for p in (tmp_path / "out").rglob("*")
        if p.is_file()
    )
    assert found == ["one/a.txt", "one/two/b.txt", "ö.txt"]
    assert (tmp_path / "out" / "one" / "a.txt").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["../evil.txt"], "leads out"),
        (["a/../../evil.txt"], "leads out"),
        (["/etc/evil.txt"], "leads out"),
        (["C:/evil.txt"], "not every disk"),
        (["..\\evil.txt"], "not every disk"),
        (["a\x01.txt"], "not every disk"),
        (["a. /b.txt"], "not every disk"),
        (["a.txt", "A.TXT"], "in it twice"),
        (["a", "a/b.txt"], "is a file and a folder"),
    ],
)
def test_a_name_that_could_do_harm_is_refused_and_nothing_is_written(
    tmp_path: Path, names: list[str], reason: str
) -> None:
    path = packed(tmp_path / "a.zip", "fine.txt", *names)
    with pytest.raises(DataError, match=f"refused: .*{reason}") as caught:
        unpack(path, tmp_path / "deep" / "out")
    assert caught.value.where == str(path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip"]


def test_a_link_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        member = zipfile.ZipInfo("labels.json")
        member.create_system = 3
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        bundle.writestr(member, "/etc/passwd")
    with pytest.raises(DataError, match="is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bomb_is_refused_before_a_byte_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unzip, "FREE_BYTES", 1 << 20)
    path = packed(tmp_path / "a.zip", "zeros.tif", data=bytes(4 << 20))
    with pytest.raises(DataError, match=r"grow to .* times its size"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_larger_than_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = unzip.shutil.disk_usage(tmp_path)._replace(free=3)
    monkeypatch.setattr(unzip.shutil, "disk_usage", lambda _: full)
    with pytest.raises(DataError, match="the disk has"):
        unpack(packed(tmp_path / "a.zip", "a.txt"), tmp_path / "out")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", "a.txt", data=bytes(range(256)) * 40)
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged") as caught:
        unpack(path, tmp_path / "out")
    assert caught.value.where == str(path)
    (tmp_path / "b.zip").write_bytes(b"no zip at all")
    with pytest.raises(DataError, match="damaged"), opened(tmp_path / "b.zip"):
        pass


def test_what_cannot_be_opened_is_named_and_errors_of_the_reader_are_its_own(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match="no such file"), opened(tmp_path / "none.zip"):
        pass
    with (
        pytest.raises(DataError, match=r"archive cannot be read.*Check the path"),
        opened(tmp_path),
    ):
        pass
    path = packed(tmp_path / "a.zip", "a.txt")
    with pytest.raises(FileNotFoundError), opened(path):
        (tmp_path / "another").read_bytes()


STRICT = Rules(
    thing="parcel",
    refused="This is no parcel",
    ask="Burn it.",
    names=re.compile(r"list\.json|box/\w+"),
    foreign="is no part of a parcel",
    needed=frozenset({"list.json"}),
    ratio=1000,
)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (
            ["list.json", "evil.py"],
            r"This is no parcel: 'evil\.py' is no part of a parcel.*Burn it",
        ),
        (["list.json", "../box/a"], r"This is no parcel: '\.\./box/a' leads out"),
        (["list.json", "box/a", "box/A"], "This is no parcel: 'box/A' is in it twice"),
        (["box/a"], r"The parcel has no list\.json"),
    ],
)
def test_a_caller_may_allow_less(tmp_path: Path, names: list[str], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        unpack(packed(tmp_path / "a.zip", *names), tmp_path / "out", STRICT)
    assert not (tmp_path / "out").exists()


def test_a_caller_may_refuse_what_only_one_file_grows_to(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", "list.json", "box/zeros", data=bytes(8 << 20))
    with pytest.raises(DataError, match=r"'list\.json' would grow beyond belief"):
        unpack(path, tmp_path / "out", STRICT)
    unpack(path, tmp_path / "out")
    (tmp_path / "b.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="The parcel is damaged"):
        unpack(tmp_path / "b.zip", tmp_path / "new", STRICT)
