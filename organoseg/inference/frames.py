"""The pictures of an item: single planes, read one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from organoseg.archive.file_planes import FileFault, FileStack, Misfit
from organoseg.archive.picture import Picture, Pixels
from organoseg.archive.statistics import cell_statistics
from organoseg.archive.store_planes import store_picture
from organoseg.core import DataError, Image, OrganosegError
from organoseg.core.intensity import smallest_level
from organoseg.inference.items import Failure, Item
from organoseg.inference.settings import FocusMode, PredictSettings
from organoseg.io.vendor import READERS, VendorFile

#: An image with a shorter side (px) is the remains of a failed export.
SMALLEST = 8
#: Cells (px of the smallest level) in which focus is measured.
_FOCUS_CELL = 128


@dataclass(frozen=True, eq=False)
class Frame:
    """A plane to be segmented. ``key`` names it within the run; ``warnings``: what a person should know of it."""

    key: str
    image: Image
    fields: Mapping[str, str]
    warnings: tuple[str, ...] = ()


Fault = Callable[[Failure], None]
Wanted = Callable[[str], bool]


def frames(
    item: Item,
    settings: PredictSettings,
    fault: Fault,
    wanted: Wanted = lambda key: True,
) -> Iterator[Frame]:
    """The pictures of an item whose keys are ``wanted``; others are not read.

    ``fault`` takes what cannot be read; the rest comes all the same.
    """
    try:
        if item.image is not None:
            yield from _planes(item, store_picture(item.image, settings.absent), settings, wanted)
        elif item.files[0].path.suffix.lower() in READERS:
            yield from _scenes(item, settings, fault, wanted)
        else:
            yield from _of_files(item, settings, fault, wanted)
    except (OrganosegError, OSError, MemoryError) as error:
        fault(Failure(item.where, str(error)))


def _of_files(
    item: Item, settings: PredictSettings, fault: Fault, wanted: Wanted
) -> Iterator[Frame]:
    """Of a file or a stack of files; a file that cannot be read is left out of its stack, and the pictures say so."""
    left = list(enumerate(item.files))
    given: set[str] = set()
    while left:
        numbers, files = [n for n, _ in left], [f for _, f in left]
        lost = len(item.files) - len(files)
        try:
            with closing(FileStack(files, item.group, item.fields)) as stack:
                depth = _Depth(numbers, len(item.files)) if len(item.files) > 1 else None
                for frame in _planes(item, stack.picture, settings, wanted, depth):
                    if frame.key in given:
                        continue
                    given.add(frame.key)
                    if lost and settings.z != "each":
                        text = f"{lost} of {len(item.files)} focus planes could not be read"
                        frame = with_warnings(frame, text)
                    yield frame
            return
        except FileFault as error:
            fault(Failure(str(error.file.path), str(error.error)))
            left = [pair for pair in left if pair[1] is not error.file]
        except Misfit:
            reason = "its size, type or axes differ from those of the other focus planes"
            fault(Failure(str(files[-1].path), reason))
            left.pop()


def _scenes(item: Item, settings: PredictSettings, fault: Fault, wanted: Wanted) -> Iterator[Frame]:
    """Of a microscope's own file: every scene (position, well) is a picture, or several."""
    path = item.files[0].path
    with VendorFile(path) as file:
        for number, name in enumerate(file.scenes):
            try:
                file.choose(number)
                picture = _vendor_picture(file, item)
                fields = {**item.fields, "scene": name} if len(file.scenes) > 1 else item.fields
                own = item.name + _suffix("s", number, len(file.scenes))
                yield from _planes(
                    replace(item, name=own, fields=fields), picture, settings, wanted
                )
            except DataError as error:
                fault(Failure(str(path), f"scene {name}: {error}"))


def _vendor_picture(file: VendorFile, item: Item) -> Picture:
    picture = Picture(
        name=item.name,
        group=item.group,
        axes=file.axes.lower(),
        shape=file.shape,
        dtype=np.dtype(np.float32),  # not known before a plane is read, and nobody asks
        read=lambda position: file.plane(()),
        pixel_size=file.pixel_size,
        channels=file.channels,
    )
    return replace(picture, read=lambda position: file.plane(picture.index(position)))


@dataclass(frozen=True)
class _Depth:
    """Where the planes of a stack of files stand among all there should be: ``numbers`` of ``total``."""

    numbers: Sequence[int]
    total: int


def _planes(
    item: Item,
    picture: Picture,
    settings: PredictSettings,
    wanted: Wanted,
    named: _Depth | None = None,
) -> Iterator[Frame]:
    if min(picture.size) < SMALLEST:
        raise DataError(
            f"An image of {picture.size[0]} x {picture.size[1]} px is too small to show an organoid",
            where=item.where,
        )
    times, channels, depth = (
        picture.shape[picture.axes.index(a)] if a in picture.axes else 1 for a in "tcz"
    )
    channel = _channel(item, settings.channel, channels, picture.channels)
    size = picture.pixel_size
    if settings.pixel_size is not None:
        size = (settings.pixel_size, settings.pixel_size)
    # Planes in files of their own keep their numbers when one of them is lost.
    place = named if named is not None else _Depth(range(depth), depth)
    stacked = max(place.total, depth) > 1
    for t in range(times):
        for z in range(depth) if settings.z == "each" else (None,):
            number = None if z is None else place.numbers[z]
            key = item.name + _suffix("t", t, times) + _suffix("z", number, place.total)
            if not wanted(key):
                continue
            pixels, seen = _seen(picture, t, channel, z, depth, settings.z, place.numbers)
            image = Image(pixels, pixel_size=size, name=key, group=item.group)
            yield Frame(key, image, _fields(item, t, times, seen if stacked else None))


def _suffix(axis: str, index: int | None, length: int) -> str:
    return "" if index is None or length < 2 else f".{axis}{index:0{len(str(length - 1))}d}"


def _channel(item: Item, wanted: str | None, channels: int, names: Sequence[str]) -> int:
    if channels == 1:
        return 0
    if wanted is not None and list(names).count(wanted) == 1:
        return list(names).index(wanted)
    if wanted is None or not wanted.isdecimal() or int(wanted) >= channels:
        called = f" ({', '.join(names)})" if names else ""
        raise DataError(
            f"The image has {channels} channels{called}",
            where=item.where,
            remedy=f"Say which to segment: --channel with a number from 0 to {channels - 1}.",
        )
    return int(wanted)


def _seen(
    picture: Picture,
    t: int,
    c: int,
    z: int | None,
    depth: int,
    mode: FocusMode,
    numbers: Sequence[int],
) -> tuple[Pixels, str]:
    """The plane or projection, and what it is called; ``numbers``: of the planes, as people count them."""
    if z is not None:
        return picture.read((t, c, z)), str(numbers[z])
    best, sharpest, chosen = None, -1.0, 0
    if depth == 1:
        best = picture.read((t, c, 0))
    for place in range(depth) if best is None else ():
        plane = picture.read((t, c, place))
        if mode == "focus":
            # Every plane is looked at, one is kept: memory does not follow the stack.
            found = focus(plane)
            if best is None or found > sharpest:
                best, sharpest, chosen = plane, found, place
        elif best is None:
            best = plane
        else:
            best = np.maximum(best, plane) if mode == "max" else np.minimum(best, plane)
    if best is None:
        raise DataError("The stack has no plane", where=picture.name)
    return best, f"focus {numbers[chosen]}" if mode == "focus" else mode


def focus(plane: Pixels) -> float:
    """How sharp a plane (H, W) is, as the archive's index measures it."""
    small = smallest_level(plane)
    return cell_statistics(small, (small.shape[0], small.shape[1]), _FOCUS_CELL).focus


def _fields(item: Item, t: int, times: int, z: str | None) -> dict[str, str]:
    found = {**item.fields, "group": item.group}
    if times > 1:
        found |= {"time": str(t), "series": item.name}
    if z is not None:
        found["z"] = z
    return found


def with_warnings(frame: Frame, *texts: str) -> Frame:
    """The frame with more warnings."""
    return replace(frame, warnings=(*frame.warnings, *texts))
