"""ImageJ ROIs in: a RoiSet.zip or a single .roi file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from organoseg.core import DataError
from organoseg.io.drawn import Area, Box, Drawn, Ellipse, Sheet
from organoseg.io.unzip import opened

_MOST_BYTES = 16 << 20


def is_roi_zip(path: Path) -> bool:
    """Whether this is a zip file of nothing but ROIs. False for what cannot be read."""
    try:
        with zipfile.ZipFile(path) as bundle:
            names = [n for n in bundle.namelist() if not n.endswith("/") and not _hidden(n)]
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return False
    return bool(names) and all(name.lower().endswith(".roi") for name in names)


def read_rois(path: Path) -> Sheet:
    """What was drawn on the image that the ROIs are about.

    Polygons, freehand and traced lines, ovals and composites are areas; rectangles are boxes; lines, points and angles
    are counted as skipped. The class is the ROI's property ``class``. Raises DataError for an archive that is damaged
    or refused (see `organoseg.io.unzip`), and for ROIs on several slices of a stack.
    """
    drawn: list[Drawn] = []
    skipped: dict[str, int] = {}
    slices: set[int] = set()
    for name, data in _members(path):
        try:
            _one(name, data, drawn, skipped, slices)
        except DataError:
            raise
        # The parser stumbles over damaged bytes in any of its own ways.
        except Exception as error:  # noqa: BLE001
            drawn.append(Drawn(name, Area(()), fault=f"damaged ROI ({type(error).__name__})"))
    if len(slices) > 1:
        raise DataError(
            f"The ROIs lie on {len(slices)} slices of a stack",
            where=path,
            remedy="Save those of one slice, with its image, at a time.",
        )
    return Sheet(tuple(drawn), None, skipped)


def _members(path: Path) -> list[tuple[str, bytes]]:
    if path.suffix.lower() == ".roi":
        try:
            return [(path.stem, path.read_bytes())]
        except OSError as error:
            raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
    found = []
    with opened(path) as bundle:
        for member in bundle.infolist():
            if member.is_dir() or _hidden(member.filename):
                continue
            if member.file_size > _MOST_BYTES:
                raise DataError(f"{member.filename!r} is too large for a ROI", where=path)
            stem = member.filename.rpartition("/")[2].removesuffix(".roi")
            found.append((stem, bundle.read(member)))
    return found


def _hidden(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith(".")


def _one(
    name: str, data: bytes, drawn: list[Drawn], skipped: dict[str, int], slices: set[int]
) -> None:
    import roifile

    roi = roifile.ImagejRoi.frombytes(data)
    kinds = roifile.ROI_TYPE
    who = f"ROI {roi.name or name}"
    slices.add(int(roi.position))
    label = str(roi.properties.get("class", "")) if roi.props else ""
    composite = roi.multi_coordinates is not None
    if roi.roitype in (kinds.POLYGON, kinds.FREEHAND, kinds.TRACED) or composite:
        lines = tuple(np.asarray(ring, np.float64)[:, ::-1] for ring in roi.coordinates(multi=True))
        drawn.append(Drawn(who, Area((lines,)), label))
    elif roi.roitype in (kinds.RECT, kinds.OVAL):
        box = _box(roi)
        drawn.append(Drawn(who, box if roi.roitype == kinds.RECT else _oval(box), label))
    elif roi.roitype in (
        kinds.LINE,
        kinds.FREELINE,
        kinds.POLYLINE,
        kinds.ANGLE,
        kinds.POINT,
        kinds.NOROI,
    ):
        kind = roi.roitype.name.lower()
        skipped[kind] = skipped.get(kind, 0) + 1
    else:
        drawn.append(Drawn(who, Area(()), label, fault="unknown kind of ROI"))


def _box(roi: Any) -> Box:
    if roi.subpixelresolution and roi.widthd > 0 and roi.heightd > 0:
        return Box(roi.yd, roi.xd, roi.yd + roi.heightd, roi.xd + roi.widthd)
    return Box(float(roi.top), float(roi.left), float(roi.bottom), float(roi.right))


def _oval(box: Box) -> Ellipse:
    return box.ellipse()
