"""Files from the network: by one process at a time, resumed where a download stopped, checked before they are used.

Published weights and public data sets both come by `fetch`; what they say of themselves when they cannot be had is
their own (`Words`).
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

from organoseg.core import DataError
from organoseg.core.files import sync_folder
from organoseg.io.cache import offline
from organoseg.io.checksum import (
    digests,
    kind_of,
    matches,
    record,
    record_of,
    recorded,
    shown,
    verify,
)
from organoseg.io.partial import Partial, version_in

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte
#: How often a long download says how far it is, seconds.
SAY_EVERY = 5.0
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


@dataclass(frozen=True)
class Words:
    """What is said of a file that cannot be had.

    Parameters
    ----------
    missing
        That it is not here; the reason why it is not downloaded is added.
    by_hand
        What to do where nothing may be downloaded. None: to download the address and put it there.
    elsewhere
        How another folder is named when the one for downloads cannot be written or is full.
    """

    missing: str = "the file is not on this computer"
    by_hand: str | None = None
    elsewhere: str = "ORGANOSEG_CACHE=/folder/with/room"


def spoken() -> Tell:
    """Say on the screen how far a download is, from time to time; of a short one nothing."""
    said = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal said
        if time.monotonic() - said <= SAY_EVERY:
            return
        said = time.monotonic()
        whole = f" of {progress.whole / 1e6:.0f}" if progress.whole else ""
        sys.stderr.write(f"downloading {progress.name}: {progress.have / 1e6:.0f}{whole} MB\n")
        sys.stderr.flush()

    return tell


def fetch(
    url: str,
    target: Path,
    checksum: str | None,
    size: int | None = None,
    first_use: bool = False,
    words: Words | None = None,
    tell: Tell | None = None,
) -> Path:
    """Download ``url`` to ``target`` once; a broken download goes on where it stopped.

    A file that is here already is held against what is known of it. Of several processes that ask at once one
    downloads, and the others wait for it.

    Parameters
    ----------
    checksum
        ``sha256:`` or ``md5:`` and the digits that the publisher states (all or the first ones; bare digits are of
        a sha256). None: what the server states of the file (the hub does), or an error. The sha256 is kept in a
        file beside ``target``.
    size
        Bytes, where they are known. No more are taken.
    first_use
        Where nothing is known or stated of the file, what comes is taken, and its sha256 recorded: later uses, and
        later downloads, are held against it.
    words
        What is said where the file cannot be had.
    tell
        Called with how far it is after every block; `spoken` where absent.

    Raises
    ------
    DataError
        Downloads are forbidden, the server cannot be reached, the folder cannot be written or has no room, or the
        file is not the one that was published.
    """
    if target.exists():
        verify(target, checksum)
        return target
    words = words or Words()
    if offline():
        raise DataError(
            f"{words.missing}, and ORGANOSEG_OFFLINE forbids downloads",
            where=target,
            remedy=words.by_hand or f"Download {url} and put it there.",
        )
    with only_one(target, words.elsewhere):
        if target.exists():  # another process was first
            verify(target, checksum)
            return target
        return _Download(url, target, checksum, size, first_use, words, tell or spoken()).run()


@contextmanager
def only_one(target: Path, elsewhere: str = Words.elsewhere) -> Iterator[None]:
    """Wait until no other process is at ``target``, and be the only one while the block lasts.

    Raises
    ------
    DataError
        Its folder cannot be written.
    """
    from organoseg.core.locks import alone

    with ExitStack() as held:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone(target.with_name(f".{target.name}.lock")))
        except OSError as error:
            raise DataError(
                f"the folder for downloads cannot be written: {error.strerror or error}",
                where=target.parent,
                remedy=f"Name another folder: {elsewhere}",
            ) from error
        yield


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


class _NotResumed(Exception):
    """The server has no such rest of the file."""


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
class _Download:
    """One download, while no other process is at it."""

    url: str
    target: Path
    checksum: str | None
    size: int | None
    first_use: bool
    words: Words
    tell: Tell

    def __post_init__(self) -> None:
        self.part = Partial(self.target)
        self._name = urllib.parse.urlsplit(self.url).path.rpartition("/")[2] or self.target.name
        self._remedy = (
            f"Download it by hand to {self.target}, or give a file's path instead of a name."
        )

    def run(self) -> Path:
        """The file under its final name."""
        stated = None if self._is_whole() else self._transfer()
        sha256 = self._accepted(stated)
        record(self.target, sha256)
        self.part.finish(self.target)
        sync_folder(self.target.parent)
        return self.target

    def _is_whole(self) -> bool:
        """Whether all of it came before, and only its name is missing."""
        if self.checksum is None or not self.part.size:
            return False
        return matches(digests(self.part.path, self.checksum), self.checksum)

    # -- bytes -----------------------------------------------------------------------------------

    def _transfer(self) -> str | None:
        """Append what is missing; the sha256 that the server states of the whole file, if it does."""
        try:
            try:
                return self._ask(*self._here())
            except _NotResumed:
                self.part.discard()
                return self._ask(0, "")
        except urllib.error.HTTPError as error:
            raise DataError(
                f"download failed: {error}", where=self.url, remedy=self._remedy
            ) from error
        except (OSError, http.client.HTTPException, _NotResumed) as error:
            why = error if str(error) else "the server sends another part than it was asked for"
            raise DataError(
                f"download failed: {why}",
                where=self.url,
                remedy=f"Run the command again to resume. {self._remedy}",
            ) from error

    def _here(self) -> tuple[int, str]:
        """How many bytes may be gone on with, and the version that they are of."""
        version = self.part.version(self.url)
        # Where the whole is held against something later, a part of another version does no harm. Elsewhere the
        # server has to say that it is the same.
        checked = self.checksum is not None or not self.first_use
        if version is None or not (version or checked):
            return 0, ""
        return self.part.size, version

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
            raise self._other_size(whole)
        free = shutil.disk_usage(self.part.path.parent).free
        if whole - have > free:
            raise DataError(
                f"the download needs {(whole - have) / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB left",
                where=self.target.parent,
                remedy=f"Make room, or name another folder: {self.words.elsewhere}",
            )

    def _read(self, answer: Any, have: int, whole: int | None) -> None:
        most = MOST_BYTES if self.size is None else self.size
        with self.part.path.open("ab") as file:
            while block := answer.read(CHUNK):
                have += len(block)
                if have > most:
                    raise self._refused(
                        f"the server sends more than the {most} bytes that may come"
                    )
                file.write(block)
                self.tell(Progress(self._name, have, whole))
            file.flush()
            os.fsync(file.fileno())
        if whole is not None and have < whole:
            raise OSError(f"the connection ended after {have} of {whole} bytes")

    # -- what came -------------------------------------------------------------------------------

    def _accepted(self, stated: str | None) -> str:
        """Its sha256; a file that is not the published one, or of which nothing is stated, is thrown away."""
        if self.checksum is None and stated is None and not self.first_use:
            raise self._refused("the server states no checksum, so the download cannot be checked")
        if self.size is not None and self.part.size != self.size:
            raise self._other_size(self.part.size)
        found = digests(self.part.path, self.checksum)
        for wanted in (self.checksum, stated):
            if wanted is not None and not matches(found, wanted):
                kind = kind_of(wanted)
                raise self._refused(
                    f"the downloaded file is not the published one ({kind}): its checksum is "
                    f"{shown({kind: found[kind]})}, stated is {wanted}"
                )
        known = recorded(self.target)
        if self.checksum is None and stated is None and known not in (None, found["sha256"]):
            raise self._refused(
                "the downloaded file is not the one that was first used here "
                f"({record_of(self.target).name} says another sha256)",
                f"If its publisher has changed it and you want the new one, delete {record_of(self.target)}.",
            )
        return found["sha256"]

    def _other_size(self, found: int) -> DataError:
        return self._refused(
            f"the downloaded file is not the published one: {found} bytes, stated are {self.size}"
        )

    def _refused(self, what: str, remedy: str | None = None) -> DataError:
        self.part.discard()
        return DataError(what, where=self.url, remedy=remedy or self._remedy)
