"""Pictures on the page: a few of them inside it, the rest by links."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import numpy as np

from organoseg.inference.page.summary import Picture, Summary
from organoseg.inference.page.words import counted, text

#: Pictures inside the page: more would make it slow to open and to send.
SHOWN = 24


def chosen(summary: Summary) -> list[Picture]:
    """Up to `SHOWN` pictures, evenly from those with the fewest to those with the most organoids."""
    there = [p for p in summary.pictures if p.thumbnail is not None and p.thumbnail.is_file()]
    there.sort(key=lambda picture: picture.count)
    if len(there) <= SHOWN:
        return there
    places = np.linspace(0, len(there) - 1, SHOWN).round().astype(int)
    return [there[place] for place in places.tolist()]


def gallery(summary: Summary, folder: Path) -> str:
    """A <section> with the pictures; "" where there are none. ``folder``: where the page will lie."""
    pictures = chosen(summary)
    if not pictures:
        return ""
    figures = "".join(_figure(picture, folder) for picture in pictures)
    which = (
        "All pictures, from the fewest organoids to the most."
        if len(pictures) == len(summary.pictures)
        else f"{len(pictures)} of {len(summary.pictures)} pictures, chosen evenly from the fewest organoids to the "
        "most, not for their looks."
    )
    linked = any(overlay_link(picture.key, folder) for picture in pictures)
    more = (
        " Click one to see it large, with the numbers that organoids have in the table."
        if linked
        else ""
    )
    return f'<section><h2>Pictures</h2><p>{which}{more}</p><div class="gallery">{figures}</div></section>'


def _figure(picture: Picture, folder: Path) -> str:
    assert picture.thumbnail is not None  # noqa: S101 (chosen for having one)
    coded = base64.b64encode(picture.thumbnail.read_bytes()).decode("ascii")
    image = f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{coded}">'
    link = overlay_link(picture.key, folder)
    shown = f'<a href="{link}">{image}</a>' if link else image
    return (
        f"<figure>{shown}<figcaption><b>{counted(picture.count, 'organoid')}</b><br>{text(picture.key)}"
        "</figcaption></figure>"
    )


def overlay_link(key: str, folder: Path) -> str:
    """Relative address of the picture's overlay, or "" where it has none."""
    path = folder / "overlay" / f"{key}.png"
    return text(quote(f"overlay/{key}.png", errors="surrogateescape")) if path.is_file() else ""
