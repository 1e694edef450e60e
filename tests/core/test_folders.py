"""A folder is there whole or not at all, whatever fails on the way."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from organoseg.core import RunError
from organoseg.core import folders as module
from organoseg.core.folders import atomic_folder


def _fill(folder: Path, text: str) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "a").write_text(text)


def _content(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()
    }


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    with atomic_folder(target) as made:
        _fill(made, "one")
        assert not target.exists()
    assert _content(tmp_path) == {"new/folder/deep/a": "one"}


def test_an_empty_folder_gives_way_and_a_full_one_does_not(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with atomic_folder(target) as made:
        _fill(made, "one")
    with pytest.raises(RunError, match="not empty"), atomic_folder(target) as made:
        _fill(made, "two")
    assert _content(tmp_path) == {"folder/deep/a": "one"}
    with atomic_folder(target, replace=True) as made:
        _fill(made, "three")
    assert _content(tmp_path) == {"folder/deep/a": "three"}
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("step", ["mkdir", "fsync", "rename"])
@pytest.mark.parametrize("replace", [True, False])
def test_a_fault_at_any_step_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, replace: bool
) -> None:
    target = tmp_path / "folder"
    if replace:
        target.mkdir()
        _fill(target, "old")
    before = _content(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match="No space left") as caught:  # noqa: PT012
        if step == "mkdir":
            monkeypatch.setattr(Path, "mkdir", full)
        with atomic_folder(target, replace) as made:
            _fill(made, "new")
            if step == "fsync":
                monkeypatch.setattr(module.os, "fsync", full)
            elif step == "rename":
                monkeypatch.setattr(module, "rename_folder", full)
    monkeypatch.undo()
    assert str(target) in str(caught.value)
    assert _content(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == (["folder"] if replace else [])


@pytest.mark.parametrize("error", [ValueError("mine"), FileNotFoundError(2, "x", "/else/y")])
def test_errors_of_the_block_pass_through_and_leave_nothing(
    tmp_path: Path, error: Exception
) -> None:
    with pytest.raises(type(error)), atomic_folder(tmp_path / "folder") as made:  # noqa: PT012
        _fill(made, "half")
        raise error
    assert list(tmp_path.iterdir()) == []
