"""Cellpose in: the masks of a ``_seg.npy``, which is a pickle in a numpy file, without letting it run anything."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError
from organoseg.io.pickles import Stored, load_plain

_REMEDY = "Save it again with Cellpose; if it is not Cellpose's own file, do not open it elsewhere either."


def read_cellpose(path: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Label image (H, W), and for labels 1..N whether a "person" or "cellpose" drew them (empty where it is not said).

    Raises DataError for a file that is damaged, is not Cellpose's, asks for code to be run, or is of a volume.
    """
    found = _dictionary(path)
    masks = found.get("masks")
    if not isinstance(masks, Stored):
        raise DataError("The file has no masks of Cellpose", where=path, remedy=_REMEDY)
    labels = np.squeeze(_numbers(masks, path))
    if labels.ndim != 2 or labels.dtype.kind not in "bui":
        raise DataError(
            f"The masks are {labels.dtype} {labels.shape}, not whole numbers of one plane",
            where=path,
            remedy="Only masks of single planes can be imported.",
        )
    if labels.dtype.kind == "u" and labels.dtype.itemsize == 8 and (labels > 1 << 62).any():
        raise DataError("The masks hold numbers that no organoid has", where=path, remedy=_REMEDY)
    return labels.astype(np.int64), _authors(found.get("ismanual"), path)


def _authors(manual: Any, path: Path) -> tuple[str, ...]:
    if isinstance(manual, Stored):
        manual = _numbers(manual, path).ravel().tolist()
    if not isinstance(manual, list):
        return ()
    return tuple("person" if drawn else "cellpose" for drawn in manual)


def _numbers(stored: Stored, path: Path) -> NDArray[Any]:
    try:
        return stored.plain()
    except (pickle.UnpicklingError, TypeError, ValueError, KeyError) as error:
        raise DataError(f"The file is refused: {error}", where=path, remedy=_REMEDY) from error


def _dictionary(path: Path) -> dict[str, Any]:
    """The dict in a numpy file of one object; what its header says is not needed and not believed."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            length = int.from_bytes(file.read(2 if version[0] == 1 else 4), "little")
            if "'|O'" not in file.read(length).decode("latin1"):
                raise DataError("The file has no masks of Cellpose", where=path, remedy=_REMEDY)
            tree = load_plain(file)
        values = tree.objects() if isinstance(tree, Stored) else [tree]
        found = values[0] if len(values) == 1 else None
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
    except pickle.UnpicklingError as error:
        raise DataError(f"The file is refused: {error}", where=path, remedy=_REMEDY) from error
    except DataError:
        raise
    # A damaged or hostile pickle can make the unpickler itself stumble in any of its own ways.
    except Exception as error:
        raise DataError(
            f"The file is damaged ({type(error).__name__}: {error})", where=path, remedy=_REMEDY
        ) from error
    if not isinstance(found, dict):
        raise DataError("The file has no masks of Cellpose", where=path, remedy=_REMEDY)
    return {key: value for key, value in found.items() if isinstance(key, str)}
