"""A file is there whole or not at all, whatever fails on the way."""

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest

from organoseg.core import (
    DataError,
    RunError,
    atomic_write,
    file_hash,
    read_json,
    write_bytes,
    write_json,
    write_text,
)
from organoseg.core import files as module


def _full(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def _only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_fault_at_any_step_leaves_what_was_there(tmp_path, monkeypatch, step, exists):
    target = tmp_path / "labels.json"
    if exists:
        target.write_bytes(b"old")

    class FullDisk(io.FileIO):
        write = _full

    if step == "open":
        monkeypatch.setattr(Path, "open", _full)
    elif step == "write":
        monkeypatch.setattr(Path, "open", lambda path, mode: FullDisk(str(path), mode))
    else:
        monkeypatch.setattr(module.os, step, _full)
    with pytest.raises(RunError, match="No space left") as caught:
        write_bytes(target, b"new")
    monkeypatch.undo()
    assert str(target) in str(caught.value)
    assert _only(tmp_path) == (["labels.json"] if exists else [])
    assert not exists or target.read_bytes() == b"old"


def test_a_folder_that_cannot_be_synced_is_told_but_the_file_is_whole(tmp_path, monkeypatch):
    real = os.fsync
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        return real(descriptor) if len(calls) == 1 else _full()

    monkeypatch.setattr(module.os, "fsync", fsync)
    with pytest.raises(RunError):
        write_bytes(tmp_path / "a", b"new")
    assert _only(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize(
    "error", [ValueError("mine"), KeyboardInterrupt(), FileNotFoundError(2, "x", "y")]
)
def test_errors_of_the_block_pass_through_and_leave_nothing(tmp_path, error):
    write_text(tmp_path / "a", "old")

    def interrupted():
        with atomic_write(tmp_path / "a") as handle:
            handle.write(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        interrupted()
    assert caught.value is error
    assert _only(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_names_may_be_long_unicode_and_in_new_folders(tmp_path):
    path = tmp_path / "été" / "new" / ("ö" * 120)
    write_text(path, "µm")
    assert path.read_text(encoding="utf-8") == "µm"
    with pytest.raises(RunError):
        write_text(path / "under a file", "x")
    with pytest.raises(RunError):
        write_text(tmp_path / "été", "a folder is there")


def test_json_is_strict_and_takes_numpy(tmp_path):
    path = tmp_path / "a.json"
    write_json(
        path, {"n": np.int64(3), "a": np.arange(2), "p": path, "µ": [float("nan"), np.float32(0.5)]}
    )
    assert read_json(path) == {"n": 3, "a": [0, 1], "p": str(path), "µ": [None, 0.5]}
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert read_json(path)["n"] == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n"b": }', "line 2"),
        (b"", "line 1"),
        (b'{"a": "\xe9"}', "UTF"),
        (b"[" * 200_000, "deep"),
    ],
)
def test_bad_json_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_json(path)
    assert "bad.json" in str(caught.value)


def test_file_names_that_are_not_text_survive(tmp_path):
    name = os.fsdecode(b"w\xe9ll.tif")
    write_json(tmp_path / "a.json", {"file_name": name})
    assert read_json(tmp_path / "a.json") == {"file_name": name}


def test_missing_files_are_named(tmp_path):
    for read in (read_json, file_hash):
        with pytest.raises(DataError, match="nothing here"):
            read(tmp_path / "nothing here")
