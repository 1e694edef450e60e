"""From the catalogue (SQLite) to the columns that the sampler draws from."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from organoseg.archive.home import place_of
from organoseg.archive.manifest import ArrayRef, Cells, Lost, Manifest, Planes
from organoseg.core import DataError

if TYPE_CHECKING:
    from organoseg.archive.catalogue import Catalogue
    from organoseg.archive.records import ImageRecord, StoreRecord

QUARANTINE = "quarantine.csv"


def manifest_of(catalogue: Catalogue) -> Manifest:
    """All images of a catalogue, and the quarantine that lies beside it.

    Raises DataError when the quarantine file is damaged.
    """
    stores = {store.id: store for store in catalogue.stores}
    arrays = tuple(_array(image, stores[image.store]) for image in catalogue.images)
    at = {array.image: number for number, array in enumerate(arrays)}
    table = catalogue.plane_table()
    planes = Planes(
        array=_places(table.image, at),
        t=table.t,
        c=table.c,
        z=table.z,
        focus=table.focus,
        low=table.low,
        middle=table.middle,
        high=table.high,
        twin=_twins(table.id, table.duplicate_of),
    )
    rows = catalogue.cells()
    order = np.argsort(table.id, kind="stable")
    plane = order[np.searchsorted(table.id[order], rows.plane)] if len(rows.plane) else rows.plane
    cells = Cells(plane, rows.y, rows.x, rows.height, rows.width, rows.focus, rows.foreground)
    return Manifest(
        arrays, planes, cells, read_quarantine(Path(catalogue.path).parent / QUARANTINE)
    )


def _array(image: ImageRecord, store: StoreRecord) -> ArrayRef:
    return ArrayRef(
        image=image.id,
        url=store.url,
        path=image.path,
        axes=image.axes.lower(),
        shape=tuple(image.shape),
        chunks=tuple(image.chunks),
        stored=tuple(image.shards or image.chunks),
        group=image.group,
        name=image.name,
        signature=image.signature,
    )


def _places(images: Any, at: dict[int, int]) -> Any:
    numbers, inverse = np.unique(images, return_inverse=True)
    return np.array([at[int(n)] for n in numbers], np.int64)[inverse]


def _twins(ids: Any, duplicate_of: Any) -> Any:
    """The id of the first of each set of duplicates; a duplicate of a duplicate belongs to the same set."""
    root = {int(i): int(d) for i, d in zip(ids, duplicate_of, strict=True) if d >= 0}

    def first(number: int) -> int:
        seen = {number}
        while number in root and root[number] not in seen:
            number = root[number]
            seen.add(number)
        return number

    twins = np.asarray(ids, np.int64).copy()
    for place in np.flatnonzero(np.isin(twins, list(root))):
        twins[place] = first(int(twins[place]))
    return twins


def read_quarantine(path: Path) -> frozenset[Lost]:
    """What `archive check --quarantine` wrote: store, array, chunk, reason. DataError when it is no such file."""
    if not path.is_file():
        return frozenset()
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.reader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The quarantine cannot be read: {error}", where=path) from error
    if not rows or any(len(row) != 4 for row in rows):
        raise DataError(
            "Not a quarantine: each line has store, array, chunk and reason",
            where=path,
            remedy="Write it anew with: organoseg archive check --quarantine",
        )
    return frozenset(Lost(place_of(row[0], path.parent), *row[1:]) for row in rows[1:])
