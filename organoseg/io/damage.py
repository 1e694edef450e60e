"""Whatever a decoder throws at a damaged file becomes one DataError with the file's name."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from organoseg.core import DataError, OrganosegError


@contextlib.contextmanager
def decoding(path: Path, kind: str) -> Iterator[None]:
    """Turn every failure to read `path` as a `kind` file into a DataError that names it."""
    try:
        if not path.is_file():
            raise DataError("There is no such file", where=path, remedy="Check the path")
        if path.stat().st_size == 0:
            raise DataError("The file is empty (0 bytes)", where=path, remedy="Copy it again")
        yield
    except OrganosegError:
        raise
    except PermissionError as error:
        raise DataError("No permission to read the file", where=path) from error
    except Exception as error:
        # Decoders raise anything, even AssertionError, on bytes that are not what they promise; one
        # bad file may cost one file only.
        detail = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(
            f"Cannot be read as {kind}: {detail}",
            where=path,
            remedy="The file may be damaged, incomplete or of another format: copy it again or "
            "export it as TIFF",
        ) from error
