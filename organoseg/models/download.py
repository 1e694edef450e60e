"""Downloads that can be resumed and are checked before they are used."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from organoseg.core import DataError

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _continue(url: str, part: Path) -> None:
    """Append what is missing of ``url`` to ``part``; start again where the server cannot resume."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - https or the user's own address
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        resumed = have > 0 and answer.status == 206
        expected = int(answer.headers.get("Content-Length", 0)) + (have if resumed else 0)
        with part.open("ab" if resumed else "wb") as file:
            while block := answer.read(CHUNK):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    if expected and part.stat().st_size < expected:
        raise OSError(f"the connection ended after {part.stat().st_size} of {expected} bytes")


def fetch(url: str, target: Path, sha256: str) -> Path:
    """Download ``url`` to ``target`` once; a broken download goes on where it stopped.

    Parameters
    ----------
    sha256
        The checksum, or the prefix of it that the publisher states.

    Raises
    ------
    DataError
        The server cannot be reached, or the file is not the one that was published.
    """
    if target.exists() and _digest(target).startswith(sha256):
        return target
    part = target.with_name(target.name + ".part")
    remedy = f"Download it by hand to {target}, or give a file's path instead of a name."
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (part.exists() and _digest(part).startswith(sha256)):
            _continue(url, part)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file: it was another file
            part.unlink(missing_ok=True)
        raise DataError(f"download failed: {error}", where=url, remedy=remedy) from error
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"download failed: {error}",
            where=url,
            remedy=f"Run the command again to resume. {remedy}",
        ) from error
    if not _digest(part).startswith(sha256):
        part.unlink()
        raise DataError(
            "the downloaded file is not the published one (sha256)", where=url, remedy=remedy
        )
    part.replace(target)
    return target
