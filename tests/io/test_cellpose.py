"""Cellpose's files are pickles: what Cellpose writes is read, and what wants to run gets nothing."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from organoseg.core import DataError
from organoseg.io.cellpose import read_cellpose

MASKS = np.array([[0, 1, 1], [2, 2, 0]], np.uint16)


def written(path: Path, **more: Any) -> Path:
    """A file with everything that Cellpose 2 to 4 put into theirs."""
    tree = {
        "filename": "/home/somebody/A01.tif",
        "masks": MASKS,
        "outlines": MASKS * 0,
        "colors": np.zeros((2, 3), np.uint8),
        "chan_choose": [0, 0],
        "ismanual": np.array([True, False]),
        "flows": [np.zeros((2, 3, 3), np.uint8), [], np.zeros((2, 3)), []],
        "zdraw": [None, [1, 2]],
        "est_diam": np.float32(30.5),
        "ratio": np.float64(1.0),
        "model_path": Path("/models/cpsam"),
        "normalize_params": {"lowhigh": None, "percentile": [1.0, 99.0], "normalize": True},
        "img_restore": None,
        **more,
    }
    np.save(path, np.array(tree, dtype=object), allow_pickle=True)
    return path


def test_masks_and_who_drew_them(tmp_path: Path) -> None:
    labels, authors = read_cellpose(written(tmp_path / "a_seg.npy"))
    assert np.array_equal(labels, MASKS)
    assert authors == ("person", "cellpose")
    labels, authors = read_cellpose(
        written(tmp_path / "a_seg.npy", ismanual=None, masks=MASKS[None])
    )
    assert (labels.tolist(), authors) == (MASKS.tolist(), ())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(tmp_path: Path, protocol: int) -> None:
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    tree = np.array({"masks": MASKS}, dtype=object)
    (tmp_path / "a_seg.npy").write_bytes(content + pickle.dumps(tree, protocol=protocol))
    assert np.array_equal(read_cellpose(tmp_path / "a_seg.npy")[0], MASKS)


class Bomb:
    """Makes a folder when a careless reader loads it."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("place", ["masks", "note"])
def test_a_file_that_wants_to_run_something_is_refused_and_runs_nothing(
    tmp_path: Path, place: str
) -> None:
    victim = tmp_path / "ran"
    path = written(tmp_path / "a_seg.npy", **{place: Bomb(victim)})
    with pytest.raises(DataError, match=r"refused: it asks for (posix|nt)\.mkdir") as caught:
        read_cellpose(path)
    assert caught.value.where == str(path)
    assert not victim.exists()


def test_a_memo_of_billions_is_refused_before_room_is_made(tmp_path: Path) -> None:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    (tmp_path / "a_seg.npy").write_bytes(content + b"\x80\x04Nr\xff\xff\xff\x7f.")
    with pytest.raises(DataError, match="more values than it can hold"):
        read_cellpose(tmp_path / "a_seg.npy")


@pytest.mark.parametrize(
    ("masks", "reason"),
    [
        (np.zeros((3, 4, 5), np.uint16), "one plane"),
        (np.zeros((4, 5)), "not whole numbers"),
        ("none", "no masks"),
        (np.array([["a"]]), "refused"),
        (np.full((2, 2), 1 << 63, np.uint64), "no organoid has"),
    ],
)
def test_masks_of_another_kind_are_refused(tmp_path: Path, masks: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_cellpose(written(tmp_path / "a_seg.npy", masks=masks))


def test_other_and_damaged_files_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "plain_seg.npy", MASKS)
    np.save(tmp_path / "list_seg.npy", np.array([1, "a"], dtype=object), allow_pickle=True)
    whole = written(tmp_path / "a_seg.npy").read_bytes()
    (tmp_path / "torn_seg.npy").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none_seg.npy").write_bytes(b"")
    for name in ("plain", "list", "torn", "none"):
        path = tmp_path / f"{name}_seg.npy"
        with pytest.raises(DataError, match=r"no masks|damaged") as caught:
            read_cellpose(path)
        assert caught.value.where == str(path)
    with pytest.raises(DataError, match="Cannot read"):
        read_cellpose(tmp_path / "absent_seg.npy")
