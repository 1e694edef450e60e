"""Arrays out of pickled weight files (detectron2's ``.pkl``), without letting the file run anything.

A pickle is a program: it names functions and has them called. Here it may name a handful of things that numpy
writes when an array is pickled, and none of them is numpy's own: each is a stand-in that only remembers what it was
given. Arrays are made afterwards, from plain bytes and checked shapes.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from organoseg.core import DataError

#: Plain numbers only: no objects, no text, no records.
KINDS = "?bhilqBHILQefd"
REMEDY = (
    "Download it again from its publisher; if it is not detectron2's own file, have it saved as "
    ".safetensors."
)


@dataclass(frozen=True)
class PickledWeights:
    """What a pickled weight file holds.

    arrays: name to array, C-contiguous, native byte order, writable.
    facts: words beside them, such as ``__author__`` or ``matching_heuristics``.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, str | int | float | bool | None] = field(default_factory=dict)


_ORDERS: dict[Any, Literal["<", ">", "="]] = {"<": "<", ">": ">", "|": "=", "=": "="}


class _Dtype:
    """Stands for ``numpy.dtype``: its code, and the byte order that its state brings."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        if isinstance(code, bytes):
            code = code.decode("latin1")
        self.code = code
        self.order: Literal["<", ">", "="] = "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(state[2:5]):
            raise pickle.UnpicklingError("an array of records")
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        self.order = _ORDERS[order]

    def plain(self) -> np.dtype:
        if not isinstance(self.code, str) or len(self.code) > 4:
            raise pickle.UnpicklingError("an array of unknown kind")
        kind = np.dtype(self.code)
        if kind.char not in KINDS:
            raise pickle.UnpicklingError(f"an array of kind {self.code!r}")
        return kind.newbyteorder(self.order)


class _Array:
    """Stands for ``numpy.ndarray``: shape, kind and bytes."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array of unknown form")
        _, shape, dtype, fortran, data = state
        self.state = (shape, dtype, "F" if fortran else "C", data)

    def plain(self) -> np.ndarray:
        if self.state is None:
            raise pickle.UnpicklingError("an array without content")
        shape, dtype, order, data = self.state
        data = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray)):
            raise pickle.UnpicklingError("an array of something else than numbers")
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array of impossible shape")
        kind = dtype.plain()
        if math.prod(shape) * kind.itemsize != len(data):
            raise pickle.UnpicklingError("an array whose content does not fill its shape")
        flat = np.frombuffer(data, kind)
        return flat.reshape(shape, order=order).astype(kind.newbyteorder("="), order="C", copy=True)


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.state = (shape, dtype, "F" if order == "F" else "C", data)
    return array


def _scalar(dtype: Any, data: Any = None) -> _Array:
    return _from_buffer(data, dtype, (), "C")


def _latin(text: Any, encoding: Any = "latin1") -> bytes:
    """Stands for ``_codecs.encode``, as which older protocols write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes of unknown form")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stands for ``bytes``, as which older protocols write those of an empty array."""
    return b""


#: All that a file may name.
ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a pickled weight file by name; see :func:`read_pickled`."""
    return read_pickled(path).arrays


def read_pickled(path: Path) -> PickledWeights:
    """Read a pickled dict of numpy arrays; nothing in the file is executed.

    Understood are a plain dict, detectron2's ``{"model": {...}, "__author__": ...}`` and Caffe2's
    ``{"blobs": {...}}``; momentum buffers are left out.

    Raises
    ------
    DataError
        The file is damaged, holds something else than arrays of numbers, or asks for code to be run.
    """
    try:
        with path.open("rb") as file:
            tree = _Unpickler(file, fix_imports=False, encoding="latin1").load()
        return _weights(tree, path)
    except pickle.UnpicklingError as error:
        _refuse(f"the weights are refused: {error}; only arrays of numbers are read", path, error)
    except OSError as error:
        _refuse(f"the weights cannot be read: {error.strerror}", path, error)
    # A damaged or hostile pickle can make the unpickler itself stumble in any of its own ways.
    except Exception as error:
        if isinstance(error, DataError):
            raise
        _refuse(f"the weights are damaged ({type(error).__name__}: {error})", path, error)


def _refuse(what: str, path: Path, error: Exception) -> NoReturn:
    raise DataError(what, where=path, remedy=REMEDY) from error


def _weights(tree: Any, path: Path) -> PickledWeights:
    if not isinstance(tree, dict):
        raise DataError("the weights are no dict of arrays", where=path, remedy=REMEDY)
    inner = next((tree[k] for k in ("model", "blobs") if isinstance(tree.get(k), dict)), tree)
    facts = {
        k: v
        for source in (tree, inner)
        for k, v in source.items()
        if isinstance(k, str) and isinstance(v, (str, int, float, bool, type(None)))
    }
    return PickledWeights(_arrays(inner, facts, path), facts)


def _arrays(tree: Mapping[Any, Any], facts: Mapping[str, Any], path: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for key, value in tree.items():
        if not isinstance(key, str):
            raise DataError("the weights have names that are no text", where=path, remedy=REMEDY)
        if key in facts or key.endswith("_momentum"):
            continue
        if not isinstance(value, _Array):
            raise DataError(
                f"the weights hold {key!r}, which is no array of numbers",
                where=path,
                remedy=REMEDY,
            )
        arrays[key] = value.plain()
    if not arrays:
        raise DataError("the weights hold no arrays", where=path, remedy=REMEDY)
    return arrays
