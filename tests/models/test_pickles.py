"""Pickled weights: arrays come out as they went in, and a file that wants more gets nothing."""

import contextlib
import io
import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from organoseg.core import DataError
from organoseg.models.pickles import read_arrays, read_pickled

WEIGHTS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "norm.count": np.array(7, dtype=np.int64),
    "head.bias": np.zeros(0, dtype=np.float16),
}


def write(path: Path, tree: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(tree, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol_come_out_as_they_went_in(tmp_path: Path, protocol: int) -> None:
    found = read_arrays(write(tmp_path / "w.pkl", {"model": OrderedDict(WEIGHTS)}, protocol))
    assert list(found) == list(WEIGHTS)
    for name, array in WEIGHTS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert found[name].flags.writeable
        assert found[name].flags.c_contiguous


numbers = st.one_of(
    arrays.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    arrays.integer_dtypes(endianness="?"),
    arrays.unsigned_integer_dtypes(endianness="?"),
    arrays.boolean_dtypes(),
)


@given(
    array=numbers.flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, min_side=0, max_side=4))
    ),
    fortran=st.booleans(),
    protocol=st.integers(0, 5),
)
def test_any_array_of_numbers_survives(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, fortran: bool, protocol: int
) -> None:
    given_array = np.asfortranarray(array) if fortran and array.ndim else array
    path = write(tmp_path_factory.getbasetemp() / "any.pkl", {"a": given_array}, protocol)
    found = read_arrays(path)["a"]
    assert found.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, array)


def test_detectron2_files_keep_their_facts(tmp_path: Path) -> None:
    tree = {"model": WEIGHTS, "__author__": "Detectron2 Model Zoo", "matching_heuristics": True}
    found = read_pickled(write(tmp_path / "w.pkl", tree))
    assert found.facts == {"__author__": "Detectron2 Model Zoo", "matching_heuristics": True}
    assert set(found.arrays) == set(WEIGHTS)


def test_caffe2_files_lose_their_momentum(tmp_path: Path) -> None:
    one = np.ones(2, np.float32)
    tree = {"blobs": {"conv1_w": one, "conv1_w_momentum": one, "lr": np.float32(0.1)}}
    assert set(read_arrays(write(tmp_path / "w.pkl", tree))) == {"conv1_w", "lr"}


def test_python_2_wrote_bytes_as_text(tmp_path: Path) -> None:
    """As ``R-50.pkl`` of MSRA: protocol 2, where raw content is a str of Python 2."""
    data = np.array([1.5, -2.0], "<f4").tobytes()
    text = pickle.dumps({"w": np.array([1.5, -2.0], "<f4")}, protocol=2)
    # Python 3 writes the bytes as _codecs.encode(text, "latin1"); Python 2 wrote them bare.
    stream = io.BytesIO()
    stream.write(b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85")
    stream.write(b"U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R")
    stream.write(b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08" + data)
    stream.write(b"tbs.")
    assert b"_codecs" in text
    (tmp_path / "w.pkl").write_bytes(stream.getvalue())
    np.testing.assert_array_equal(read_arrays(tmp_path / "w.pkl")["w"], [1.5, -2.0])


class Bomb:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.order = (function, arguments)

    def __reduce__(self) -> Any:
        return self.order


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("place", ["value", "name", "beside"])
def test_a_file_that_wants_to_run_something_is_refused_and_runs_nothing(
    tmp_path: Path, protocol: int, place: str
) -> None:
    victim = tmp_path / "ran"
    bomb = Bomb(os.mkdir, str(victim))
    trees = {
        "value": {"model": {**WEIGHTS, "x": bomb}},
        "name": {"model": {**WEIGHTS, bomb: WEIGHTS["norm.count"]}},
        "beside": {"model": WEIGHTS, "note": bomb},
    }
    path = write(tmp_path / "w.pkl", trees[place], protocol)
    with pytest.raises(DataError, match=r"refused: it asks for (posix|nt)\.mkdir") as caught:
        read_arrays(path)
    assert not victim.exists()
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    "name",
    [
        "builtins\neval",
        "builtins\ngetattr",
        "numpy\nload",
        "numpy.core.multiarray\nfromfile",
        "collections\nnamedtuple",
        "_codecs\ndecode",
        "torch._utils\n_rebuild_tensor_v2",
        "numpy\ndtype.__class__",
    ],
)
def test_nothing_outside_the_list_can_be_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(b"\x80\x04c" + name.encode() + b"\n.")
    with pytest.raises(DataError, match="refused: it asks for"):
        read_arrays(path)


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        ({"a": np.array(["text"])}, "of kind"),
        ({"a": np.array([object], dtype=object)}, "refused"),
        ({"a": np.zeros(2, [("x", "f4")])}, "refused"),
        ({"a": np.zeros(2, "M8[s]")}, "refused"),
        ({"a": [1, 2]}, "'a', which is no array"),
        ({1: np.zeros(2)}, "names that are no text"),
        ({}, "hold no arrays"),
        ([np.zeros(2)], "no dict of arrays"),
    ],
)
def test_other_things_than_numbers_are_refused(tmp_path: Path, tree: Any, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        read_arrays(write(tmp_path / "w.pkl", tree))


def test_a_shape_that_its_content_does_not_fill_is_refused(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": np.zeros((3, 5), np.float32)}, protocol=4)
    huge = whole.replace(b"K\x03K\x05\x86", b"K\xffK\xff\x86")
    assert huge != whole
    (tmp_path / "w.pkl").write_bytes(huge)
    with pytest.raises(DataError, match="does not fill its shape"):
        read_arrays(tmp_path / "w.pkl")


@given(cut=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255))
def test_a_damaged_file_is_always_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, cut: float, flip: int
) -> None:
    whole = bytearray(pickle.dumps({"model": WEIGHTS}, protocol=4))
    place = int(cut * len(whole))
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(whole[:place])
    with pytest.raises(DataError):
        read_arrays(path)
    # A length that says many gigabytes is what the disk has, not what is asked of memory.
    if any(op.name in ("FRAME", "LONG4") for op, _, at in _opcodes(whole) if at <= place < at + 9):
        return
    whole[place] = flip
    path.write_bytes(whole)
    with contextlib.suppress(DataError):
        read_arrays(path)


def _opcodes(data: bytes) -> list[tuple[Any, Any, int]]:
    return [(op, argument, at or 0) for op, argument, at in pickletools.genops(bytes(data))]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read.*none\.pkl"):
        read_arrays(tmp_path / "none.pkl")
