"""Pickled plain values and arrays of numbers, without letting the file run anything.

A pickle is a program: it names functions and has them called. Here it may name a handful of things that numpy
writes when an array is pickled, and none of them is numpy's own: each is a stand-in that only remembers what it was
given. Arrays are made afterwards, from plain bytes and checked shapes.
"""

from __future__ import annotations

import math
import pickle
import pickletools
from collections import OrderedDict
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

#: Plain numbers only: no objects, no text, no records.
KINDS = "?bhilqBHILQefd"

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

    def plain(self) -> np.dtype[Any]:
        """The kind of number; UnpicklingError when it is something else."""
        if not isinstance(self.code, str) or len(self.code) > 4:
            raise pickle.UnpicklingError("an array of unknown kind")
        kind = np.dtype(self.code)
        if kind.char not in KINDS:
            raise pickle.UnpicklingError(f"an array of kind {self.code!r}")
        return kind.newbyteorder(self.order)


class Stored:
    """Stands for ``numpy.ndarray``: shape, kind and bytes."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array of unknown form")
        _, shape, dtype, fortran, data = state
        self.state = (shape, dtype, "F" if fortran else "C", data)

    def plain(self) -> NDArray[Any]:
        """The array: C-contiguous, native byte order, writable; UnpicklingError when it is none of numbers."""
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

    def objects(self) -> list[Any]:
        """What an array of Python's own values holds, flat; UnpicklingError when it is another array."""
        _, dtype, _, data = self.state or (None, None, None, None)
        if (
            not isinstance(dtype, _Dtype)
            or dtype.code not in ("O", "O8", "|O")
            or type(data) is not list
        ):
            raise pickle.UnpicklingError("an array of something else than values")
        return data


def _reconstruct(*_: Any) -> Stored:
    return Stored()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Stored:
    array = Stored()
    array.state = (shape, dtype, "F" if order == "F" else "C", data)
    return array


def _scalar(dtype: Any, data: Any = None) -> Stored:
    return _from_buffer(data, dtype, (), "C")


def _latin(text: Any, encoding: Any = "latin1") -> bytes:
    """Stands for ``_codecs.encode``, as which older protocols write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes of unknown form")
    return text.encode("latin1")


def _path(*parts: Any) -> str:
    """Stands for paths, which some programs write beside their arrays."""
    if not all(isinstance(part, str) for part in parts):
        raise pickle.UnpicklingError("a path of unknown form")
    return "/".join(parts)


def _no_bytes() -> bytes:
    """Stands for ``bytes``, as which older protocols write those of an empty array."""
    return b""


#: All that a file may name.
ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
    ("numpy", "ndarray"): Stored,
    ("numpy", "dtype"): _Dtype,
    **{
        (module, f"{kind}{system}Path"): _path
        for module in ("pathlib", "pathlib._local")
        for kind in ("", "Pure")
        for system in ("Posix", "Windows")
    },
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


_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}


class _Named:
    """What a file gets to hold: it can be called, and nothing can be put into it."""

    __slots__ = ("_make",)

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *given: Any) -> Any:
        return self._make(*given)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes what it names")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _Named(ALLOWED[module, name])
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def load_plain(file: BinaryIO) -> Any:
    """What a pickle holds, with a `Stored` in the place of every array; nothing in it is executed.

    Raises
    ------
    pickle.UnpicklingError
        It asks for something else than plain values and arrays of numbers. A damaged file can make the unpickler
        itself stumble in any of its own ways: expect any Exception.
    """
    _check_memo(file)
    return _Unpickler(file, fix_imports=False, encoding="latin1").load()


def _check_memo(file: BinaryIO) -> None:
    """Refuse a memo that is numbered beyond the file's own length: room is made for all that lies below a number."""
    start = file.tell()
    end = file.seek(0, 2)
    file.seek(start)
    for code, argument, _ in pickletools.genops(file):
        if code.name in _PUTS and not 0 <= int(argument or 0) <= end:
            raise pickle.UnpicklingError("it numbers more values than it can hold")
    file.seek(start)
