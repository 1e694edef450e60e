"""Arrays out of pickled weight files (detectron2's ``.pkl``), without letting the file run anything."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from organoseg.core import DataError
from organoseg.io.pickles import Stored, load_plain

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
            tree = load_plain(file)
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
        if not isinstance(value, Stored):
            raise DataError(
                f"the weights hold {key!r}, which is no array of numbers",
                where=path,
                remedy=REMEDY,
            )
        arrays[key] = value.plain()
    if not arrays:
        raise DataError("the weights hold no arrays", where=path, remedy=REMEDY)
    return arrays
