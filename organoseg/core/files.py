"""Files that appear under their final name only when they are whole."""

import contextlib
import errno
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from organoseg.core.errors import DataError, RunError

PathLike = str | os.PathLike[str]

# Some network file systems cannot fsync a folder; the rename itself has happened by then.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF}


@contextlib.contextmanager
def atomic_write(path: PathLike) -> Iterator[BinaryIO]:
    """Open a binary handle whose content becomes `path` when the block ends without an error.

    The bytes go to a temporary file in the same folder (made when absent), which is synced to disk
    and renamed. On any error the temporary file is removed and what was at `path` stays as it was.

    Raises RunError when the file cannot be written; errors of the block itself pass through.
    """
    target = Path(path)
    # A short name of its own: the target's name may already be as long as the disk allows.
    partial = target.parent / f".tmp-{secrets.token_hex(8)}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, target)  # noqa: PTH105 (one call to fail in tests)
        sync_folder(target.parent)
    except OSError as error:
        # Errors that name another file are the block's own affair.
        named = error.filename
        if isinstance(named, str) and Path(named) not in {partial, target, *target.parents}:
            raise
        raise RunError(
            f"Cannot write the file: {error.strerror or error}",
            where=target,
            remedy="Check free space, permissions and the path, then run again",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def remove_partial(folder: PathLike) -> None:
    """Remove what killed processes left unfinished anywhere below `folder`; nobody may be writing there."""
    for path in list(Path(folder).rglob(".tmp-*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the file system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def write_bytes(path: PathLike, data: bytes) -> None:
    """Write `data` atomically; RunError when that fails."""
    with atomic_write(path) as handle:
        handle.write(data)


def write_text(path: PathLike, text: str) -> None:
    """Write `text` as UTF-8 atomically; RunError when that fails.

    Bytes of file names that are not text (Linux allows them) are written as backslash codes: in
    JSON strings they come back as they were.
    """
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_json(path: PathLike, obj: Any, indent: int | None = 2) -> None:
    """Write `obj` as strict JSON, atomically.

    NumPy values and paths are converted. NaN and infinities, which JSON lacks, become null.
    """
    try:
        text = json.dumps(obj, indent=indent, default=_plain, allow_nan=False, ensure_ascii=False)
    except ValueError:
        text = json.dumps(_finite(obj), indent=indent, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if value is None or isinstance(value, str | int):
        return value
    return _finite(_plain(value))


def read_json(path: PathLike) -> Any:
    """Read a JSON file; DataError names the file, and the line where it stops being JSON."""
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise DataError("There is no such file", where=path, remedy="Check the path") from error
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
    except json.JSONDecodeError as error:
        place = f"{os.fspath(path)}, line {error.lineno}, column {error.colno}"
        raise DataError(f"Not valid JSON: {error.msg}", where=place) from error
    except UnicodeDecodeError as error:
        raise DataError("Not valid JSON: the file is not UTF-8 text", where=path) from error
    except RecursionError as error:
        raise DataError("Not usable JSON: nested too deeply", where=path) from error
