"""Files from the network: by one process at a time, resumed where a download stopped, checked before they are used.

Published weights and public data sets both come by `fetch`; what they say of themselves when they cannot be had is
their own (`Words`).
"""

from __future__ import annotations

import http.client
import sys
import time
import urllib.error
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

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
from organoseg.io.partial import Partial
from organoseg.io.transfer import Progress, Tell, Transfer, Unwanted

#: How often a long download says how far it is, seconds.
SAY_EVERY = 5.0


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

    def _transfer(self) -> str | None:
        """All bytes to the partial file; the sha256 that the server states of them, if it does."""
        name = urllib.parse.urlsplit(self.url).path.rpartition("/")[2] or self.target.name
        way = Transfer(self.url, self.part, name, self.size, self.words.elsewhere, self.tell)
        try:
            return way.run(checked=self.checksum is not None or not self.first_use)
        except urllib.error.HTTPError as error:
            raise DataError(
                f"download failed: {error}", where=self.url, remedy=self._remedy
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise DataError(
                f"download failed: {error}",
                where=self.url,
                remedy=f"Run the command again to resume. {self._remedy}",
            ) from error
        except Unwanted as error:
            raise self._refused(f"the downloaded file is not the published one: {error}") from error

    def _accepted(self, stated: str | None) -> str:
        """Its sha256; a file that is not the published one, or of which nothing is stated, is thrown away."""
        if self.checksum is None and stated is None and not self.first_use:
            raise self._refused("the server states no checksum, so the download cannot be checked")
        came = self.part.size
        if self.size is not None and came != self.size:
            raise self._refused(
                f"the downloaded file is not the published one: {came} bytes, stated are {self.size}"
            )
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

    def _refused(self, what: str, remedy: str | None = None) -> DataError:
        self.part.discard()
        return DataError(what, where=self.url, remedy=remedy or self._remedy)
