from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoseg.core import DataError, RunError
from organoseg.review.journal import Journal, create_journal, read_journal, seal, unseal

ID = "p" * 32
RECORDS = st.dictionaries(
    st.text(min_size=1, max_size=5).filter(lambda k: k != "crc"),
    st.one_of(st.integers(), st.text(), st.booleans(), st.lists(st.integers())),
    min_size=1,
)


@given(RECORDS)
def test_a_sealed_record_comes_back_and_is_one_line(record: dict[str, object]) -> None:
    line = seal(record)
    assert line.count(b"\n") == 1
    assert unseal(line) == record


@given(RECORDS, st.data())
def test_any_altered_byte_is_noticed(record: dict[str, object], data: st.DataObject) -> None:
    line = bytearray(seal(record))
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    assert unseal(bytes(line)) is None


def written(folder: Path, count: int = 5) -> Path:
    path = folder / "journal.jsonl"
    create_journal(path, ID)
    journal = Journal(path, ID)
    for number in range(count):
        journal.append({"n": number, "text": "ö\n" * number})
    journal.close()
    return path


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 600))
def test_a_journal_cut_anywhere_keeps_every_whole_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = written(tmp_path_factory.mktemp("cut"))
    data = path.read_bytes()
    head = data.index(b"\n") + 1
    cut = min(max(head, cut), len(data))
    path.write_bytes(data[:cut])
    whole = data[:cut].count(b"\n") - 1
    rest = data[:cut].rpartition(b"\n")[2]
    assert len(read_journal(path, ID).lines) == whole
    assert path.read_bytes() == data[:cut]  # looking changes nothing
    journal = Journal(path, ID)
    assert [line["n"] for line in journal.lines] == list(range(whole))
    journal.append({"n": whole, "text": "after"})
    journal.close()
    assert [line["n"] for line in read_journal(path, ID).lines] == list(range(whole + 1))
    assert (journal.aside is None) == (rest == b"")
    if journal.aside is not None:
        assert journal.aside.read_bytes() == rest


def test_damage_before_the_last_line_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="Line 3 of the journal is damaged"):
        Journal(path, ID)
    assert path.read_bytes() == bytes(data)


def test_another_projects_journal_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(DataError, match="another review project") as caught:
        Journal(path, "q" * 32)
    assert "merge" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{}\n", b"\x00" * 100, b"not a journal\nat all\n"]
)
def test_what_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="first line is damaged"):
        read_journal(path, ID)


def test_a_journal_that_is_not_there_says_what_that_means(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no journal"):
        read_journal(tmp_path / "journal.jsonl", ID)


def test_a_full_disk_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    journal = Journal(path, ID)
    handle = journal._handle

    class Full:
        """Takes half of a line."""

        def __getattr__(self, name: str) -> Any:
            return getattr(handle, name)

        def write(self, line: bytes) -> int:
            return handle.write(line[: len(line) // 2])

    monkeypatch.setattr(journal, "_handle", Full())
    with pytest.raises(RunError, match="only a part"):
        journal.append({"n": 99})
    assert path.read_bytes() == before
    monkeypatch.undo()
    journal.append({"n": 5})
    journal.close()
    assert [line["n"] for line in read_journal(path, ID).lines] == [0, 1, 2, 3, 4, 5]


def test_a_disk_that_refuses_later_is_told_of_and_the_journal_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(written(tmp_path), ID)
    monkeypatch.setattr(os, "fsync", _refuse)
    journal.append({"n": 5})
    journal._syncer.stop()  # its error has come by now
    with pytest.raises(RunError, match="Input/output error"):
        journal.append({"n": 6})
    with pytest.raises(RunError, match="Input/output error"):
        journal.close()
    assert journal._handle.closed


def _refuse(_: int) -> None:
    raise OSError(5, "Input/output error")


def test_every_line_is_json_that_other_programs_read(tmp_path: Path) -> None:
    for line in written(tmp_path).read_text("utf-8").splitlines():
        assert isinstance(json.loads(line), dict)
