"""Archives from strangers: nothing gets out, nothing grows, and nothing is written of one that is refused."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from organoseg.core import DataError
from organoseg.io import unzip
from organoseg.io.unzip import opened, unpack


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
