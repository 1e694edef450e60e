"""Index archives: walk each store once, look at every plane cheaply, and keep it all in a catalogue.

A store whose files did not change is not opened again; of one that did, only the images that are new or changed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from organoseg.archive.byte_store import is_remote, local_path
from organoseg.archive.catalogue import (
    FILE,
    SCHEMA,
    VERSION,
    Catalogue,
    probe_middle,
    probe_of_middle,
)
from organoseg.archive.chunk_reader import ChunkReader
from organoseg.archive.home import kept_name, place_of
from organoseg.archive.listing import Listing, list_store
from organoseg.archive.manifest import ArrayRef
from organoseg.archive.records import IMAGE_COLUMNS, ImageRecord, image_record, image_row
from organoseg.archive.statistics import cell_statistics, level_for
from organoseg.archive.tasks import Place, Task
from organoseg.archive.walk import walk
from organoseg.core import DataError, Intensity, RunError, pixel_hash

Tick = Callable[[int], None]


def index_archive(store: Path | str, tick: Tick | None = None) -> Catalogue:
    """Index an archive of ours into its own ``catalogue.sqlite``. Errors as `index_stores`."""
    return index_stores([str(store)], Path(store) / FILE, tick)


def index_stores(urls: Sequence[str], out: Path, tick: Tick | None = None) -> Catalogue:
    """Index folders and fsspec URLs into the catalogue ``out``; stores that it knows already stay in it.

    ``tick`` is called with the number of planes looked at. What cannot be read is among `Catalogue.problems`.
    Raises DataError when a path is no store, is empty or may not be read, RunError when a URL does not answer or the
    disk does not take the catalogue. ``out`` is replaced only when all went well.
    """
    listings = [list_store(absolute(url)) for url in urls]
    if out.exists():
        Catalogue.open(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".tmp-", dir=out.parent)
        os.close(handle)
        partial = Path(name)
        try:
            if out.exists():
                shutil.copyfile(out, partial)
            with contextlib.closing(sqlite3.connect(partial)) as base:
                if not out.exists():
                    base.executescript(SCHEMA + f"PRAGMA user_version = {VERSION};")
                base.execute("PRAGMA synchronous = OFF")
                for listing in listings:
                    _Indexer(base, listing, out.parent, tick).run()
                _mark_duplicates(base, out.parent)
                base.commit()
            with partial.open("rb") as whole:
                os.fsync(whole.fileno())
            partial.chmod(0o644)
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise RunError(
            f"Cannot write the catalogue: {error}", where=out, remedy="Check space and permissions"
        ) from error
    return Catalogue.open(out)


def absolute(url: str) -> str:
    """The name under which a catalogue keeps a store: a URL, or a whole path."""
    return url.rstrip("/") if is_remote(url) else str(local_path(url).absolute())


@dataclass
class _Indexer:
    """One store into an open catalogue."""

    base: sqlite3.Connection
    listing: Listing
    home: Path
    tick: Tick | None
    looked: int = 0

    def run(self) -> None:
        """Bring the store's rows up to date."""
        base, listing = self.base, self.listing
        signature, name = listing.signature(listing.keys), kept_name(listing.url, self.home)
        row = base.execute("SELECT id, signature FROM stores WHERE url = ?", (name,)).fetchone()
        if row and row[1] == signature:
            return
        found = walk(listing)
        if not found.images:
            path, reason = (*found.problems, ("", "there is nothing in zarr"))[0]
            raise DataError(
                f"No image in this store: {reason}",
                where=f"{listing.url}/{path}".rstrip("/"),
                remedy="Give a zarr store with images, or a folder of such",
            )
        base.execute(
            "INSERT INTO stores(url, kind, signature) VALUES (?, ?, ?) ON CONFLICT(url) DO "
            "UPDATE SET kind = excluded.kind, signature = excluded.signature",
            (name, found.kind, signature),
        )
        number = base.execute("SELECT id FROM stores WHERE url = ?", (name,)).fetchone()[0]
        known = {
            path: (image, was)
            for image, path, was in base.execute(
                "SELECT id, path, signature FROM images WHERE store = ?", (number,)
            )
        }
        base.execute("DELETE FROM problems WHERE store = ?", (number,))
        base.execute("DELETE FROM metadata WHERE store = ?", (number,))
        rows = [(number, *item) for item in found.digests.items()]
        base.executemany("INSERT INTO metadata VALUES (?, ?, ?)", rows)
        problems = list(found.problems)
        for image in found.images:
            old, was = known.pop(image.path, (None, None))
            if was == image.signature:
                continue
            if old is not None:
                self._forget(old)
            problems += self._image(replace(image, store=number), found.hashes.get(image.path, {}))
        for gone, _ in known.values():
            self._forget(gone)
        base.executemany("INSERT INTO problems VALUES (?, ?, ?)", [(number, *p) for p in problems])

    def _forget(self, image: int) -> None:
        for table, column in (("cells", "image"), ("planes", "image"), ("images", "id")):
            self.base.execute(f"DELETE FROM {table} WHERE {column} = ?", (image,))  # noqa: S608

    def _image(self, image: ImageRecord, hashes: dict[str, str]) -> list[tuple[str, str]]:
        marks = ", ".join("?" * (IMAGE_COLUMNS.count(",")))
        columns = IMAGE_COLUMNS.removeprefix("id, ")
        number = self.base.execute(
            f"INSERT INTO images({columns}) VALUES ({marks})",  # noqa: S608
            image_row(image),
        ).lastrowid
        problems: list[tuple[str, str]] = []
        look = _Look(replace(image, id=number or 0), self.listing.url)
        for t, c, z in look.places():
            values, cells, reason = look.at(t, c, z)
            known = hashes.get(f"{t},{c},{z}")
            plane = self.base.execute(
                "INSERT INTO planes(image, t, c, z, probe, pixel_hash, focus, low, middle, high) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (number, t, c, z, values[0], known, *values[1:]),
            ).lastrowid
            self.base.executemany(
                "INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(number, plane, *row) for row in cells],
            )
            if reason:
                problems.append((image.path, f"plane t={t} c={c} z={z}: {reason}"))
            self.looked += 1
            if self.tick:
                self.tick(self.looked)
        return problems


class _Look:
    """Reads what the catalogue says of the planes of one image."""

    def __init__(self, image: ImageRecord, url: str) -> None:
        self.image, self.reader = image, ChunkReader()
        self.arrays = [
            ArrayRef(image.id, url, path, image.axes, shape, image.chunks, image.chunks)
            for path, shape in image.levels
        ]
        self.level = level_for([array.size for array in self.arrays], image.cell)

    def places(self) -> Iterator[tuple[int, int, int]]:
        """Every plane, z fastest."""
        yield from product(*(range(self.image.along(axis)) for axis in "tcz"))

    def at(self, t: int, c: int, z: int) -> tuple[tuple[Any, ...], list[Any], str]:
        """(probe, focus, low, middle, high), rows of cells, and what went wrong or "".

        A plane of which a chunk of that level is lost has no cells, so that nothing is drawn from it.
        """
        size, place = self.image.size, (t, c, z)
        try:
            plane = self.read(self.arrays[self.level], place, None)
            # Of the very level that a labelled image of this size is halved to.
            intensity = Intensity.of(plane)
            cells = cell_statistics(plane, size, self.image.cell)
        except DataError as error:
            return ("", 0.0, 0.0, 0.0, 0.0), [], str(error)
        y, x, high, wide = box = probe_middle(size)
        try:
            whole = self.level == 0
            middle = (
                plane[y : y + high, x : x + wide]
                if whole
                else self.read(self.arrays[0], place, box)
            )
            probe, reason = probe_of_middle(middle, size), ""
        except DataError as error:
            probe, reason = "", str(error)
        values = (probe, cells.focus, intensity.low, intensity.middle, intensity.high)
        return values, cells.rows, reason

    def read(self, array: ArrayRef, at: tuple[int, int, int], box: Any) -> Any:
        """Pixels of a window, or DataError."""
        t, c, z = at
        y, x, high, wide = box or (0, 0, *array.size)
        reply = self.reader.read(Task(array, (Place(t, c, (z,), y, x, high, wide),), "any"))
        if reply.pixels[0] is None:
            raise DataError(f"chunk {reply.lost[0].chunk}: {reply.lost[0].reason}")
        return reply.pixels[0]


def _mark_duplicates(base: sqlite3.Connection, home: Path) -> None:
    """Planes with the same pixels point to the first of them; only those that share a probe are read in full."""
    base.execute("UPDATE planes SET duplicate_of = NULL WHERE duplicate_of IS NOT NULL")
    rows = base.execute(
        "SELECT id, image, t, c, z, probe, pixel_hash FROM planes WHERE probe IN (SELECT probe "
        "FROM planes WHERE probe != '' GROUP BY probe HAVING count(*) > 1) ORDER BY id"
    ).fetchall()
    first: dict[tuple[str, str], int] = {}
    images: dict[int, _Look] = {}
    for number, image, t, c, z, probe, known in rows:
        full = known
        if full is None:
            if image not in images:
                query = f"SELECT {IMAGE_COLUMNS} FROM images WHERE id = ?"  # noqa: S608
                record = image_record(base.execute(query, (image,)).fetchone())
                query = "SELECT url FROM stores WHERE id = ?"
                (name,) = base.execute(query, (record.store,)).fetchone()
                images[image] = _Look(record, place_of(name, home))
            try:
                look = images[image]
                full = pixel_hash(look.read(look.arrays[0], (t, c, z), None))
            except DataError:
                # A plane that cannot be read whole is not drawn from where it is lost; its middle decides.
                full = ""
            base.execute("UPDATE planes SET pixel_hash = ? WHERE id = ?", (full or None, number))
        twin = first.setdefault((probe, full), number)
        if twin != number:
            base.execute("UPDATE planes SET duplicate_of = ? WHERE id = ?", (twin, number))
