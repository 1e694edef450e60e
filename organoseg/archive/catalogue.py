"""The index of archives: every image, plane and cell in one SQLite file, so that no tree is walked twice."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.archive.home import kept_name, place_of
from organoseg.archive.records import (
    IMAGE_COLUMNS,
    CellTable,
    ImageRecord,
    PlaneRecord,
    PlaneTable,
    StoreRecord,
    image_record,
)
from organoseg.core import DataError, Image, pixel_hash

VERSION = 2
FILE = "catalogue.sqlite"
#: Side (px) of the middle of a plane that tells most planes apart.
PROBE = 64
SCHEMA = """
CREATE TABLE stores(id INTEGER PRIMARY KEY, url TEXT UNIQUE, kind TEXT, signature TEXT);
CREATE TABLE images(
    id INTEGER PRIMARY KEY, store INTEGER, path TEXT, name TEXT, grp TEXT, axes TEXT, shape TEXT,
    dtype TEXT, chunks TEXT, shards TEXT, codec TEXT, checksummed INTEGER, pixel_size TEXT,
    levels TEXT, fields TEXT, signature TEXT, cell INTEGER, UNIQUE(store, path));
CREATE TABLE planes(
    id INTEGER PRIMARY KEY, image INTEGER, t INTEGER, c INTEGER, z INTEGER, probe TEXT,
    pixel_hash TEXT, duplicate_of INTEGER, focus REAL, low REAL, middle REAL, high REAL);
CREATE TABLE cells(
    image INTEGER, plane INTEGER, row INTEGER, "column" INTEGER, mean REAL, spread REAL,
    focus REAL, foreground REAL);
CREATE TABLE problems(store INTEGER, path TEXT, reason TEXT);
CREATE TABLE metadata(store INTEGER, "key" TEXT, digest TEXT);
CREATE INDEX planes_of ON planes(image);
CREATE INDEX cells_of ON cells(image);
CREATE INDEX probes ON planes(probe);
"""
_REMEDY = "Make it anew with: organoseg archive index"


@dataclass(frozen=True)
class Catalogue:
    """A catalogue on disk, read-only. Records are loaded at first use."""

    path: Path
    inode: tuple[int, int] = (0, 0)

    @staticmethod
    def open(path: Path | str) -> Catalogue:
        """``path``: the file, or the archive that holds it. DataError when absent, damaged or of another version."""
        file = Path(path)
        file = file / FILE if file.is_dir() else file
        if not file.is_file():
            raise DataError("There is no catalogue", where=file, remedy=_REMEDY)
        catalogue = Catalogue(file, _inode(file))
        version = catalogue._rows("PRAGMA user_version")[0][0]
        if version != VERSION:
            raise DataError(
                f"A catalogue of version {version}, not {VERSION}", where=file, remedy=_REMEDY
            )
        catalogue._rows("SELECT count(*) FROM images")
        return catalogue

    def _rows(self, query: str, *values: Any) -> list[Any]:
        if _inode(self.path) != self.inode:
            raise DataError(
                "The catalogue was written anew meanwhile", where=self.path, remedy="Open it again"
            )
        try:
            uri = f"{self.path.resolve().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as base:
                return base.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise DataError(
                f"The catalogue cannot be read: {error}", where=self.path, remedy=_REMEDY
            ) from error

    @cached_property
    def stores(self) -> tuple[StoreRecord, ...]:
        """Every store, in the order they were added."""
        rows = self._rows("SELECT id, url, kind, signature FROM stores ORDER BY id")
        home = self.path.parent
        return tuple(StoreRecord(n, place_of(url, home), *rest) for n, url, *rest in rows)

    @cached_property
    def images(self) -> tuple[ImageRecord, ...]:
        """Every image, by id."""
        return tuple(
            image_record(row)
            for row in self._rows(f"SELECT {IMAGE_COLUMNS} FROM images ORDER BY id")  # noqa: S608
        )

    @cached_property
    def problems(self) -> tuple[tuple[str, str, str], ...]:
        """(store url, path, reason) of what could not be indexed."""
        query = "SELECT url, path, reason FROM problems JOIN stores ON stores.id = store"
        home = self.path.parent
        return tuple((place_of(url, home), path, reason) for url, path, reason in self._rows(query))

    def store_of(self, image: ImageRecord) -> StoreRecord:
        """The store that holds an image."""
        return next(store for store in self.stores if store.id == image.store)

    def metadata_of(self, url: str) -> dict[str, str]:
        """SHA-256 (hex) of each metadata file of a store as it was when indexed, by key."""
        query = 'SELECT "key", digest FROM metadata JOIN stores ON stores.id = store WHERE url = ?'
        return dict(self._rows(query, kept_name(url, self.path.parent)))

    def planes(self, image: int) -> tuple[PlaneRecord, ...]:
        """The planes of an image."""
        rows = self._rows("SELECT * FROM planes WHERE image = ? ORDER BY id", image)
        return tuple(PlaneRecord(*row) for row in rows)

    def plane_table(self) -> PlaneTable:
        """All planes of all images."""
        query = (
            "SELECT id, image, t, c, z, coalesce(duplicate_of, -1), focus, low, middle, high "
            "FROM planes ORDER BY id"
        )
        table = np.array(self._rows(query), np.float64).reshape(-1, 10).T
        kinds = [np.int64, *[np.int32] * 4, np.int64, *[np.float64] * 4]
        columns: list[Any] = [column.astype(k) for column, k in zip(table, kinds, strict=True)]
        return PlaneTable(*columns)

    def cells(self) -> CellTable:
        """All cells of all images; ``plane`` holds plane ids."""
        query = 'SELECT image, plane, row, "column", mean, spread, focus, foreground FROM cells'
        rows = np.array(self._rows(query + " ORDER BY plane, rowid"), np.float64).reshape(-1, 8).T
        image, plane, row, column = (part.astype(np.int32) for part in rows[:4])
        table = self.plane_table()
        at = np.searchsorted(table.id, plane)
        sizes = np.array([(i.id, i.cell, *i.size) for i in self.images], np.int64).reshape(-1, 4)
        _, cell, high, wide = sizes[np.searchsorted(sizes[:, 0], image)].T
        y, x = row * cell, column * cell
        places: list[Any] = [
            part.astype(np.int32)
            for part in (y, x, np.minimum(cell, high - y), np.minimum(cell, wide - x))
        ]
        statistics: list[Any] = [part.astype(np.float32) for part in rows[4:]]
        return CellTable(image, plane, table.t[at], table.c[at], table.z[at], *places, *statistics)

    def read_plane(
        self, record: ImageRecord, t: int, c: int, z: int, region: Any = None
    ) -> NDArray[Any]:
        """Pixels (H, W) of level 0; ``region``: (y, x, height, width). DataError when a chunk is lost."""
        from organoseg.archive.access import open_level

        return open_level(record, 0, self.store_of(record).url).read(t, c, z, region)

    def matches(self, images: Iterable[Image]) -> set[tuple[int, int, int, int]]:
        """(image id, t, c, z) of planes with the very pixels of one of these images (every plane of them).

        Only planes that share a probe are read in full. DataError when such a plane cannot be read.
        """
        by_id = {image.id: image for image in self.images}
        same: set[tuple[int, int, int, int]] = set()
        for image in images:
            flat = image.pixels.reshape(-1, *image.shape)
            for plane in flat:
                full: str | None = None
                for row in self._rows("SELECT * FROM planes WHERE probe = ?", probe_of(plane)):
                    record = PlaneRecord(*row)
                    full = full or pixel_hash(plane)
                    theirs = record.pixel_hash or pixel_hash(
                        self.read_plane(by_id[record.image], record.t, record.c, record.z)
                    )
                    if theirs == full:
                        same.add((record.image, record.t, record.c, record.z))
        return same


def _inode(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return 0, 0
    return facts.st_ino, facts.st_mtime_ns


def probe_middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(y, x, height, width) of the part of a plane of this size that `probe_of` looks at."""
    high, wide = min(PROBE, size[0]), min(PROBE, size[1])
    return (size[0] - high) // 2, (size[1] - wide) // 2, high, wide


def probe_of(plane: NDArray[Any]) -> str:
    """SHA-256 (hex) of dtype, shape and the middle of a plane (H, W): planes that differ in it differ."""
    y, x, high, wide = probe_middle((plane.shape[0], plane.shape[1]))
    return probe_of_middle(plane[y : y + high, x : x + wide], (plane.shape[0], plane.shape[1]))


def probe_of_middle(middle: NDArray[Any], size: tuple[int, int]) -> str:
    """`probe_of` a plane of which only the middle was read."""
    return hashlib.sha256(f"{size} {pixel_hash(middle)}".encode()).hexdigest()
