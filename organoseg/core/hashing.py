"""Hashes that name images and files by their content."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core.errors import DataError


def pixel_hash(array: NDArray[Any]) -> str:
    """SHA-256 (hex) of dtype, shape and values of an array of any shape.

    Memory layout and byte order do not matter, so the same picture read from two file formats has
    one hash; the same values in another dtype have another.
    """
    little = array.dtype.newbyteorder("<")
    digest = hashlib.sha256(f"{little.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array, dtype=little).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of a file's bytes; DataError when it cannot be read."""
    try:
        with Path(path).open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
