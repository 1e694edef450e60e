"""Bytes of an address, appended to what came of them before."""

from __future__ import annotations

import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any

from organoseg.core import DataError
from organoseg.io.partial import Partial, version_in

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte
#: What a file of which no size is stated may grow to, bytes: a server that never ends must not fill the disk.
MOST_BYTES = 256 << 30
#: What hubs that keep large files apart say of a file's content while they send one elsewhere.
STATED = "X-Linked-Etag"


@dataclass(frozen=True)
class Progress:
    """How far the download of ``name`` is: bytes that are here, and all of them where that is known."""

    name: str
    have: int
    whole: int | None


Tell = Callable[[Progress], None]


class Unwanted(Exception):
    """What the server sends cannot be the file."""


class _NotResumed(Exception):
    """The server has no such rest of the file."""


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


def _length(answer: Any, have: int) -> int | None:
    """Bytes of the whole file, as the answer states them.

    Raises _NotResumed for a part that does not begin after the ``have`` bytes that are here.
    """
    before = have if answer.status == 206 else 0
    if answer.status == 206:
        part = re.match(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range") or "")
        if part is None or int(part[1]) != have:
            raise _NotResumed
        if part[2] != "*":
            return int(part[2])
    stated = answer.headers.get("Content-Length") or ""
    return int(stated) + before if stated.isdigit() else None


@dataclass
class Transfer:
    """From an address to a partial file.

    Parameters
    ----------
    name
        What the file is called where it is told how far it is.
    size
        Bytes of the whole file, where they are known.
    elsewhere
        How another folder is named when this one has no room.
    """

    url: str
    part: Partial
    name: str
    size: int | None
    elsewhere: str
    tell: Tell

    def run(self, checked: bool) -> str | None:
        """Append what is missing; start again where the server cannot resume.

        checked: the whole is held against something later, so that a part of another version does no harm. Otherwise
        only a part whose version the server named is gone on with, and only while it is the same.

        Returns the sha256 that the server states of the whole file, if it does.

        Raises OSError and HTTPException where the line or the disk fails, Unwanted where more comes than may, DataError
        where the disk has no room.
        """
        version = self.part.version(self.url)
        known = version is not None and (checked or version != "")
        try:
            return self._ask(self.part.size if known else 0, version or "")
        except _NotResumed:
            self.part.discard()
        try:
            return self._ask(0, "")
        except _NotResumed as error:
            raise OSError("the server sends another part than it was asked for") from error

    def _ask(self, have: int, version: str) -> str | None:
        redirects = _Redirects()
        opener = urllib.request.build_opener(redirects)
        headers = {"Range": f"bytes={have}-", **({"If-Range": version} if version else {})}
        request = urllib.request.Request(self.url, headers=headers if have else {})  # noqa: S310 - https or the user's own address
        try:
            answer = opener.open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # what is here is longer than the file
                raise _NotResumed from error
            raise
        with answer:
            whole = _length(answer, have)
            if version and answer.status == 206 and version_in(answer.headers) not in ("", version):
                raise _NotResumed
            if not have or answer.status != 206:
                have = 0
                self.part.empty()
            self._must_fit(have, whole)
            self.part.belongs(self.url, answer.headers)
            self._read(answer, have, whole)
            return redirects.stated or _sha256_in(answer.headers)

    def _must_fit(self, have: int, whole: int | None) -> None:
        if whole is None:
            return
        if self.size is not None and whole != self.size:
            raise Unwanted(f"{whole} bytes, stated are {self.size}")
        free = shutil.disk_usage(self.part.path.parent).free
        if whole - have > free:
            raise DataError(
                f"the download needs {(whole - have) / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB left",
                where=self.part.path.parent,
                remedy=f"Make room, or name another folder: {self.elsewhere}",
            )

    def _read(self, answer: Any, have: int, whole: int | None) -> None:
        most = MOST_BYTES if self.size is None else self.size
        with self.part.path.open("ab") as file:
            while block := answer.read(CHUNK):
                have += len(block)
                if have > most:
                    raise Unwanted(f"more than the {most} bytes that may come")
                file.write(block)
                self.tell(Progress(self.name, have, whole))
            file.flush()
            os.fsync(file.fileno())
        if whole is not None and have < whole:
            raise OSError(f"the connection ended after {have} of {whole} bytes")
