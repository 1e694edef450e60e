"""CVAT in: the XML of "CVAT for images 1.1", with polygons, ellipses, boxes and masks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from organoseg.core import DataError
from organoseg.io.drawn import Area, Box, Drawn, Ellipse, Pixels, Sheet
from organoseg.io.joined import Piece, joined

#: Drawings that cover nothing, or none of the image's own pixels.
_NO_AREA = {"polyline", "points", "cuboid", "skeleton", "tag"}
_MOST_PIXELS = 1 << 31
_REMEDY = "Export the task again as 'CVAT for images 1.1'."


@dataclass
class _Page:
    name: str
    size: tuple[int, int]
    subset: str
    pieces: list[Piece] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass
class _Reader:
    """Takes the elements as they come; ``path`` is the file's."""

    path: Path
    depth: int = 0
    pages: list[_Page] = field(default_factory=list)
    page: _Page | None = None

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.depth += 1
        if self.depth == 1 and tag != "annotations":
            raise DataError(f"Not a CVAT file: it begins with <{tag}>", where=self.path)
        if self.depth == 2 and tag == "track":
            raise DataError(
                "This is CVAT's format for video, whose shapes belong to no image",
                where=self.path,
                remedy=_REMEDY,
            )
        if self.depth == 2 and tag == "image":
            self.page = self._page(attributes)
            self.pages.append(self.page)
        elif self.depth == 3 and self.page is not None:
            self._drawing(self.page, tag, attributes)

    def end(self, tag: str) -> None:
        self.depth -= 1
        if self.depth == 1 and tag == "image":
            self.page = None

    def _page(self, attributes: Mapping[str, str]) -> _Page:
        try:
            size = (int(attributes["height"]), int(attributes["width"]))
            name = attributes["name"]
        except (KeyError, ValueError) as error:
            raise DataError(
                f"Image {len(self.pages) + 1} of the CVAT file has no name or size",
                where=self.path,
                remedy=_REMEDY,
            ) from error
        return _Page(name, size, attributes.get("subset", ""))

    def _drawing(self, page: _Page, tag: str, attributes: Mapping[str, str]) -> None:
        if tag in _NO_AREA:
            page.skipped[tag] = page.skipped.get(tag, 0) + 1
            return
        who = f"{tag} {len(page.pieces) + 1}"
        label = attributes.get("label", "")
        source = attributes.get("source", "")
        group = attributes.get("group_id", "0")
        key = None if group in ("", "0") else (label, group)
        try:
            drawn = Drawn(who, _geometry(tag, attributes, page.size), label, source)
        except (KeyError, ValueError):
            drawn = Drawn(who, Area(()), label, source, "attributes that are missing or no numbers")
        except DataError as error:
            drawn = Drawn(who, Area(()), label, source, error.what)
        page.pieces.append(Piece(drawn, key))


def read_cvat(path: Path) -> list[tuple[str, str, Sheet]]:
    """(file name, subset, what was drawn) of every image of the file, in order.

    Shapes of one label and one group are one organoid. Lines, points, cuboids and tags are counted as skipped. Raises
    DataError when it is no such file, is of a video, or declares entities; what is wrong with one shape becomes its
    `fault`.
    """
    reader = _Reader(path)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_dtd(path)
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        raise DataError(f"Not valid XML: {error}", where=path, remedy=_REMEDY) from error
    except OSError as error:
        raise DataError(f"Cannot read the file: {error.strerror}", where=path) from error
    return [(p.name, p.subset, Sheet(joined(p.pieces), p.size, p.skipped)) for p in reader.pages]


def _refuse_dtd(path: Path) -> Any:
    """Entities can grow a small file beyond any memory, or name other files; CVAT writes none."""

    def refuse(*_: Any) -> None:
        raise DataError(
            "The XML file declares a document type, which no labelling tool writes",
            where=path,
            remedy="Do not open it, and ask whoever sent it.",
        )

    return refuse


def _geometry(
    tag: str, attributes: Mapping[str, str], size: tuple[int, int]
) -> Area | Box | Ellipse | Pixels:
    def number(name: str) -> float:
        return float(attributes[name])

    turn = math.radians(float(attributes.get("rotation", 0)))
    if tag == "polygon":
        pairs = [pair.split(",") for pair in attributes["points"].split(";") if pair]
        points = np.array([[float(y), float(x)] for x, y in pairs], np.float64)
        return Area(((points.reshape(-1, 2),),))
    if tag == "ellipse":
        return Ellipse(number("cy"), number("cx"), number("ry"), number("rx"), turn)
    if tag == "box":
        return Box(number("ytl"), number("xtl"), number("ybr"), number("xbr"), turn)
    if tag == "mask":
        return _mask(attributes, size)
    raise DataError(f"unknown kind of shape {tag!r}")


def _mask(attributes: Mapping[str, str], size: tuple[int, int]) -> Pixels:
    """CVAT's run lengths go row by row through the mask's own rectangle, beginning with pixels outside."""
    height, width = int(attributes["height"]), int(attributes["width"])
    runs = np.array([int(run) for run in attributes["rle"].split(",")], np.int64)
    if height < 1 or width < 1 or height * width > min(_MOST_PIXELS, 4 * size[0] * size[1]):
        raise DataError("mask larger than its image")
    if (runs < 0).any() or (runs > height * width).any() or runs.sum() != height * width:
        raise DataError("mask whose run lengths do not fill it")
    inside = np.arange(len(runs)) % 2 == 1
    bits = np.repeat(inside, runs).reshape(height, width)
    return Pixels(bits, int(float(attributes["top"])), int(float(attributes["left"])))
