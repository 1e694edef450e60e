"""Making an archive: read every image once, store each picture once, and only then name it."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from organoseg.archive.entry import Entry, Progress, describe, planes
from organoseg.archive.store import ERRORS, FORMAT, INDEX, Archive
from organoseg.core import DataError, Image, RunError, UsageError
from organoseg.core.files import write_bytes, write_json
from organoseg.io.formats import find_images, read_image

_Loader = Callable[[], Image]


def create_archive(
    sources: Sequence[Path], out: Path, chunk: int = 512, progress: Progress | None = None
) -> Archive:
    """Store every image of ``sources`` (files, or folders searched through) in a new archive.

    ``chunk`` is the side of a chunk in pixels; ``progress`` is called with (files done, files).
    Planes of a stack become images of their own. A picture met twice is stored once (see
    ``duplicates``); a file that cannot be read is listed in ``errors.csv`` and the rest is done.
    ``out`` appears only when whole. Raises UsageError when ``out`` exists, DataError when there
    are no images or none can be read.
    """
    named = [
        (path, path.relative_to(source).as_posix() if source.is_dir() else path.name)
        for source in map(Path, sources)
        for path in find_images([source])
    ]

    loaders = [(str(path), partial(_read_as, path, name)) for path, name in named]
    return _create(loaders, len(loaders), Path(out), chunk, progress)


def create_archive_from_images(
    images: Iterable[Image], out: Path, chunk: int = 512, progress: Progress | None = None
) -> Archive:
    """Store images that are already in memory (or made one by one); else as `create_archive`."""

    def loaders() -> Iterator[tuple[str, _Loader]]:
        for image in images:
            yield image.name, partial(_itself, image)

    total = len(images) if isinstance(images, Sequence) else 0
    return _create(loaders(), total, Path(out), chunk, progress)


def _read_as(path: Path, name: str) -> Image:
    return replace(read_image(path), name=name)


def _itself(image: Image) -> Image:
    return image


def _create(
    loaders: Iterable[tuple[str, _Loader]],
    total: int,
    out: Path,
    chunk: int,
    progress: Progress | None,
) -> Archive:
    if chunk < 1:
        raise UsageError(f"A chunk of {chunk} pixels", remedy="Give a positive side, such as 512.")
    if out.exists():
        raise UsageError(
            "The archive exists already and is never overwritten",
            where=out,
            remedy="Give another name, or remove it yourself.",
        )
    building = _beside(out)
    try:
        _fill(building, loaders, total, chunk, progress)
        building.chmod(0o755)
        if hasattr(os, "sync"):
            # The name may only appear on disk after every chunk has.
            os.sync()
        building.rename(out)
    except OSError as error:
        raise RunError(
            f"The archive cannot be written: {error.strerror or error}",
            where=out,
            remedy="Check free space and permissions; nothing was left behind.",
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Archive.open(out)


def _beside(out: Path) -> Path:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".archive-", suffix=".partial", dir=out.parent))
    except OSError as error:
        raise RunError(
            f"The archive cannot be written there: {error.strerror or error}",
            where=out,
            remedy="Check the path and its permissions.",
        ) from error


def _fill(
    root: Path,
    loaders: Iterable[tuple[str, _Loader]],
    total: int,
    chunk: int,
    progress: Progress | None,
) -> None:
    import zarr

    group = zarr.open_group(root, mode="w", zarr_format=3, attributes={"organoseg": FORMAT})
    entries: list[Entry] = []
    stored: dict[str, str] = {}
    duplicates: dict[str, str] = {}
    errors: list[tuple[str, str]] = []
    for done, (file, load) in enumerate(loaders, start=1):
        try:
            found = list(planes(load()))
        except DataError as error:
            errors.append((file, str(error)))
            found = []
        for image in found:
            entry = describe(image, f"images/{len(entries):08d}")
            if entry.pixel_hash in stored:
                duplicates[entry.name] = stored[entry.pixel_hash]
                continue
            _store(group, entry, image, chunk)
            stored[entry.pixel_hash] = entry.name
            entries.append(entry)
        if progress:
            progress(done, max(total, done))
    if not entries:
        raise _nothing_readable(errors)
    if errors:
        write_bytes(root / ERRORS, _errors_csv(errors))
    index = {
        "format": FORMAT,
        "chunk": chunk,
        "entries": [asdict(entry) for entry in entries],
        "duplicates": duplicates,
    }
    write_json(root / INDEX, index)


def _store(group: Any, entry: Entry, image: Image, chunk: int) -> None:
    from zarr.codecs import Crc32cCodec, ZstdCodec

    array = group.create_array(
        entry.key,
        shape=entry.shape,
        dtype=entry.dtype,
        chunks=(min(chunk, entry.shape[0]), min(chunk, entry.shape[1])),
        # The checksum comes last, so that damage is noticed before zstd sees it.
        compressors=[ZstdCodec(level=3), Crc32cCodec()],
        attributes={
            "name": entry.name,
            "group": entry.group,
            "pixel_hash": entry.pixel_hash,
            "pixel_size": entry.pixel_size,
        },
        dimension_names=("y", "x"),
        # An all-zero chunk is written too: a chunk that is not there is then always a loss.
        config={"write_empty_chunks": True},
    )
    array[:] = image.plane()


def _nothing_readable(errors: Sequence[tuple[str, str]]) -> DataError:
    if not errors:
        return DataError("There are no images to archive", remedy="Give a folder that holds some.")
    shown = "; ".join(reason for _, reason in errors[:5])
    return DataError(
        f"None of {len(errors)} images could be read: {shown}",
        remedy="Check that they are whole and of a supported format.",
    )


def _errors_csv(errors: Iterable[tuple[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["file", "reason"])
    for row in errors:
        writer.writerow([_plain(cell) for cell in row])
    return text.getvalue().encode("utf-8")


def _plain(cell: str) -> str:
    # A spreadsheet would run a cell that starts like a formula.
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell
