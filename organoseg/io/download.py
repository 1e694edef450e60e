"""Downloads that can be resumed and are checked before they are used."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from pathlib import Path
from typing import IO, Any

from organoseg.core import DataError, write_text

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte
#: How often a long download says how far it is, seconds.
SAY_EVERY = 5.0
#: What hubs that keep large files apart say of a file's content while they send one elsewhere.
STATED = "X-Linked-Etag"
#: How a file begins that git left in the place of a large one.
POINTER = b"version https://git-lfs"


def digests(path: Path, checksum: str | None = None) -> dict[str, str]:
    """sha256 of a file, and its md5 where ``checksum`` is one: some publishers state nothing better."""
    sums = {"sha256": hashlib.sha256()}
    if checksum is not None and checksum.startswith("md5:"):
        sums["md5"] = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            for digest in sums.values():
                digest.update(block)
    return {name: digest.hexdigest() for name, digest in sums.items()}


def matches(found: dict[str, str], checksum: str) -> bool:
    """Whether digests agree with ``sha256:...`` or ``md5:...`` or bare digits of a sha256, or their beginning."""
    algorithm, colon, digits = checksum.rpartition(":")
    return found[algorithm if colon else "sha256"].startswith(digits.lower())


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow, but remember what was stated of the file, and never from https to plain http."""

    def __init__(self) -> None:
        self.stated: str | None = None

    def redirect_request(
        self,
        request: urllib.request.Request,
        answer: IO[bytes],
        code: int,
        message: str,
        headers: Message,
        address: str,
    ) -> urllib.request.Request | None:
        self.stated = self.stated or _sha256_in(headers)
        schemes = [urllib.parse.urlsplit(a).scheme for a in (request.full_url, address)]
        if schemes == ["https", "http"]:
            raise OSError("it leads to an address that is not encrypted")
        if schemes[1] not in ("http", "https"):
            raise OSError(f"it leads to an address of another kind: {address}")
        return super().redirect_request(request, answer, code, message, headers, address)  # type: ignore[arg-type]


def _sha256_in(headers: Any) -> str | None:
    found = re.fullmatch(r'(?:W/)?"?([0-9a-f]{64})"?', (headers.get(STATED) or "").strip().lower())
    return found[1] if found else None


def _continue(url: str, part: Path, trusted: bool) -> str | None:
    """Append what is missing of ``url`` to ``part``; start again where the server cannot resume.

    trusted: the whole is checked later, so that a part of another file does no harm. Otherwise only a part of which
    the server said how it tells versions apart is gone on with, and only while the version is the same.
    Returns the sha256 that the server states of the whole file, if it does.
    """
    version = _version_of(part)
    tag = version.read_text(encoding="latin1") if version.exists() else ""
    have = part.stat().st_size if part.exists() and (tag or trusted) else 0
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects)
    headers = {"Range": f"bytes={have}-", **({"If-Range": tag} if tag else {})} if have else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - https or the user's own address
    with opener.open(request, timeout=TIMEOUT) as answer:
        resumed = have > 0 and answer.status == 206
        begin = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
        if resumed and begin and int(begin[1]) != have:
            raise OSError("the server sends another part than it was asked for")
        _keep_version(version, answer.headers)
        expected = int(answer.headers.get("Content-Length", 0)) + (have if resumed else 0)
        with part.open("ab" if resumed else "wb") as file:
            said = time.monotonic()
            while block := answer.read(CHUNK):
                file.write(block)
                if time.monotonic() - said > SAY_EVERY:
                    said = time.monotonic()
                    _say(url, file.tell(), expected)
            file.flush()
            os.fsync(file.fileno())
        stated = redirects.stated or _sha256_in(answer.headers)
    if expected and part.stat().st_size < expected:
        raise OSError(f"the connection ended after {part.stat().st_size} of {expected} bytes")
    return stated


def _version_of(part: Path) -> Path:
    """Where the server's word for the version of an unfinished download is kept."""
    return part.with_name(part.name + ".version")


def _keep_version(path: Path, headers: Any) -> None:
    tag = headers.get("ETag") or ""
    if not tag or tag.startswith("W/"):  # a weak one may not be asked for
        tag = headers.get("Last-Modified") or ""
    if tag:
        path.write_text(tag, encoding="latin1")
    else:
        path.unlink(missing_ok=True)


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_of(part).unlink(missing_ok=True)


def _say(url: str, have: int, expected: int) -> None:
    whole = f" of {expected / 1e6:.0f}" if expected else ""
    name = urllib.parse.urlsplit(url).path.rpartition("/")[2]
    sys.stderr.write(f"downloading {name}: {have / 1e6:.0f}{whole} MB\n")
    sys.stderr.flush()


def record_of(path: Path) -> Path:
    """Where the sha256 of a downloaded file is kept, in the form that ``sha256sum --check`` reads."""
    return path.with_name(path.name + ".sha256")


def _begin(found: dict[str, str]) -> str:
    return " and ".join(f"{name}:{digits[:8]}..." for name, digits in found.items())


def verify(path: Path, checksum: str | None, where: str | None = None) -> None:
    """Assert that a file is the published one, and the one that it was when it was first used here.

    Where no checksum is known the content of the first use is recorded beside the file.

    Raises
    ------
    DataError
        It is not.
    """
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise DataError(
                "the file is only git's note of where the weights lie",
                where=path,
                remedy="Type `git lfs pull` in the repository's folder, or download the file itself.",
            )
    found = digests(path, checksum)
    record = record_of(path)
    remedy = f"Delete {path} to have it downloaded again, or give a file's path instead of a name."
    if checksum is not None and not matches(found, checksum):
        raise DataError(
            f"the file is not the published one: its checksum is {_begin(found)}, stated is {checksum}",
            where=where or path,
            remedy=remedy,
        )
    if record.is_file():
        if record.read_text(encoding="utf-8").split()[:1] != [found["sha256"]]:
            raise DataError(
                f"the file is not the one that was first used here ({record.name} says another sha256)",
                where=path,
                remedy=f"{remedy} If you put another file there on purpose, delete {record}.",
            )
    elif os.access(path.parent, os.W_OK):
        write_text(record, f"{found['sha256']}  {path.name}\n")


def fetch(
    url: str,
    target: Path,
    checksum: str | None,
    size: int | None = None,
    first_use: bool = False,
) -> Path:
    """Download ``url`` to ``target`` once; a broken download goes on where it stopped.

    Parameters
    ----------
    checksum
        ``sha256:`` or ``md5:`` and the digits that the publisher states (all or the first ones; bare digits are of
        a sha256). None: what the server states of the file (the hub does), or an error. The sha256 is kept in a
        file beside ``target``.
    size
        Bytes, where they are known.
    first_use
        Where nothing is known or stated of the file, what comes is taken, and its sha256 recorded: later uses are
        held against it.

    Raises
    ------
    DataError
        The server cannot be reached, or the file is not the one that was published.
    """
    if target.exists():
        verify(target, checksum)
        return target
    part = target.with_name(target.name + ".part")
    remedy = f"Download it by hand to {target}, or give a file's path instead of a name."
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stated = None
        if checksum is None or not (part.exists() and matches(digests(part, checksum), checksum)):
            # Without a first use something has to be stated of the whole, and it is held against that.
            stated = _continue(url, part, trusted=checksum is not None or not first_use)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file: it was another file
            _discard(part)
        raise DataError(f"download failed: {error}", where=url, remedy=remedy) from error
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"download failed: {error}",
            where=url,
            remedy=f"Run the command again to resume. {remedy}",
        ) from error
    sha256 = _accept(part, url, checksum, stated, size, first_use, remedy)
    write_text(record_of(target), f"{sha256}  {target.name}\n")
    _version_of(part).unlink(missing_ok=True)
    part.replace(target)
    return target


def _accept(
    part: Path,
    url: str,
    checksum: str | None,
    stated: str | None,
    size: int | None,
    first_use: bool,
    remedy: str,
) -> str:
    """Its sha256; a file that is not the published one, or of which nothing is stated, is thrown away."""
    if checksum is None and stated is None and not first_use:
        _discard(part)
        raise DataError(
            "the server states no checksum, so the download cannot be checked",
            where=url,
            remedy=remedy,
        )
    came = part.stat().st_size
    if size is not None and came != size:
        _discard(part)
        raise DataError(
            f"the downloaded file is not the published one: {came} bytes, stated are {size}",
            where=url,
            remedy=remedy,
        )
    found = digests(part, checksum)
    for wanted in (checksum, stated):
        if wanted is not None and not matches(found, wanted):
            _discard(part)
            kind = "md5" if wanted.startswith("md5:") else "sha256"
            raise DataError(
                f"the downloaded file is not the published one ({kind})", where=url, remedy=remedy
            )
    return found["sha256"]
