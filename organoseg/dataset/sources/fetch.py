"""Public sets from the network: once, resumed where it stopped, and checked."""

from __future__ import annotations

from pathlib import Path

from organoseg.core import DataError
from organoseg.dataset.sources.catalogue import PublicSet
from organoseg.io.cache import cache_folder
from organoseg.io.checksum import record_of, verify
from organoseg.io.download import Words, fetch


def place_of(public: PublicSet, folder: Path | None = None) -> Path:
    """Where a set's archive is kept: in ``folder``, else in the cache."""
    base = cache_folder() / "data" / public.name if folder is None else folder
    return base / (public.file or f"{public.name}.zip")


def fetch_set(public: PublicSet, folder: Path | None = None) -> tuple[Path, str]:
    """The archive of a set, downloaded where it is not here yet, and a word on how it was checked.

    Raises DataError when only a person can download it, ORGANOSEG_OFFLINE forbids it, the server cannot be reached, or
    what came is not the published file.
    """
    target = place_of(public, folder)
    if public.url is None and not target.exists():
        raise DataError(
            f"{public.title} cannot be downloaded by a program",
            where=public.page,
            remedy="Download it there by hand, and give its folder or zip: "
            f"organoseg data import FOLDER --set {public.name} --out DIR",
        )
    known = record_of(target).is_file()
    if public.url is None:
        verify(target, public.checksum)
    else:
        words = Words(
            missing=f"{public.title} is not on this computer",
            elsewhere="--folder DIR, or ORGANOSEG_CACHE=/folder/with/room",
        )
        fetch(public.url, target, public.checksum, public.size, first_use=True, words=words)
    return target, _word(public, known)


def _word(public: PublicSet, known: bool) -> str:
    if public.checksum is not None:
        by = f", {public.checksum_by}" if public.checksum_by else ""
        return f"the sha256 is the published one{by}"
    if known:
        return "the sha256 is that of the first use here; what its publisher states is not known"
    return "no checksum is known: its sha256 was recorded now, and later uses are held against it"
