"""The files of a source, and which image a labelling tool means by a name."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from organoseg.core import DataError
from organoseg.dataset.sources.json_kinds import JsonFacts, Kind, look_at
from organoseg.dataset.splits import Side
from organoseg.io.formats import suffixes

#: How labelling tools end the names of pictures that are no images.
_NO_IMAGE = re.compile(
    r"_(cp_)?(masks?|labels?|outlines|flows|cp_output|seg|masks_organoid)$", re.I
)

_SIDES: dict[str, Side] = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate"), "validation"),
    **dict.fromkeys(("test", "testing", "testset", "eval", "evaluation"), "test"),
}


@dataclass(frozen=True, eq=False)
class Tree:
    """A source as the user named it: ``labels`` are the files to look for labels in, ``root`` is where names start.

    images: the folder (or the one file) where the images lie; the same as root where nobody said otherwise.
    by_name_alone: images that were taken for those meant though their folders are called otherwise; to be said.
    """

    source: Path
    root: Path
    labels: tuple[Path, ...]
    images: Path
    by_name_alone: list[str] = field(default_factory=list, repr=False)
    _json: dict[Path, JsonFacts] = field(default_factory=dict, repr=False)

    @cached_property
    def readable(self) -> tuple[Path, ...]:
        """Every file that can be read as an image."""
        known = suffixes()
        files = [self.images] if self.images.is_file() else walk(self.images)
        return tuple(path for path in files if path.suffix.lower() in known)

    @cached_property
    def pictures(self) -> tuple[Path, ...]:
        """Those without the ones that are masks by their name."""
        return tuple(path for path in self.readable if not _NO_IMAGE.search(path.stem))

    @property
    def top(self) -> Path:
        """What names of images are relative to."""
        return self.images.parent if self.images.is_file() else self.images

    def name_of(self, path: Path) -> str:
        """The image's name in the data set: its path below the source, with ``/``."""
        return path.relative_to(self.top).as_posix()

    def short(self, path: Path) -> str:
        """A file of labels as messages call it."""
        return (
            path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name
        )

    def json_of(self, kind: Kind) -> list[Path]:
        """The JSON files of a kind; each is looked at once."""
        for path in self.labels:
            if path.suffix.lower() == ".json" and path not in self._json:
                self._json[path] = look_at(path)
        return [path for path, facts in self._json.items() if facts.kind == kind]

    def json_facts(self, path: Path) -> JsonFacts:
        """What is known of one that `json_of` gave."""
        return self._json[path]

    @cached_property
    def _by_ending(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = defaultdict(list)
        for path in self.readable:
            found[path.name.casefold()].append(path)
        return found

    def find(self, name: str, near: Path, side: Side | None = None) -> Path | None:
        """The image that a tool calls ``name`` in a file that lies in the folder ``near``.

        Tools write paths of other computers: where none lies just there, the longest common ending decides. Nothing
        outside the source is ever taken, and nothing that lies on another side than ``side``, or than the name says.
        None when there is none, DataError when several would do.
        """
        parts = [p for p in re.split(r"[\\/]+", name) if p not in ("", ".")]
        inside = [p for p in parts if p != ".."]
        if not inside:
            return None
        if inside == parts:
            for folder in (near, near / "images", self.top, self.top / "images"):
                path = folder / PurePosixPath(*parts)
                if path in self._all:
                    return path
        wanted = side_of("/".join(inside)) or side
        found = self._by_ending.get(inside[-1].casefold(), [])
        sides = {path: side_of(self.name_of(path)) for path in found}
        found = [p for p in found if wanted is None or sides[p] in (None, wanted)]
        best, same = _longest_ending(found, inside)
        if len(best) > 1:
            best = [p for p in best if wanted is not None and sides[p] == wanted] or best
        if len(best) > 1:
            raise DataError(f"{name}: {len(best)} images have this name")
        if best and same < len(inside) and same <= 1:
            self.by_name_alone.append(self.name_of(best[0]))
        return best[0] if best else None

    @cached_property
    def _all(self) -> frozenset[Path]:
        return frozenset(self.readable)

    def unlabelled(self, used: Iterable[Path]) -> tuple[list[Path], int]:
        """Images without labels in folders where others have some, and how many lie in other folders."""
        taken = set(used)
        folders = {path.parent for path in taken}
        rest = [path for path in self.pictures if path not in taken]
        near = [path for path in rest if path.parent in folders]
        return near, len(rest) - len(near)


def walk(folder: Path) -> list[Path]:
    """Every file below, in order; hidden ones and what macOS puts beside them left out, links not followed.

    DataError for a folder that may not be looked into: what is in it would be missed without a word.
    """
    found: list[Path] = []
    for here, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n != "__MACOSX")
        found += [Path(here) / name for name in sorted(files) if not name.startswith(".")]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise DataError(
        f"Cannot look into the folder: {error.strerror}", where=error.filename
    ) from error


def side_of(name: str) -> Side | None:
    """What the folders of a path say: train, val, test and the like. The deepest decides."""
    for part in reversed(PurePosixPath(name).parts[:-1]):
        if part.casefold() in _SIDES:
            return _SIDES[part.casefold()]
    return None


def side_of_file(name: str) -> Side | None:
    """What the name of a file of labels says (``instances_val.json``), else its folders."""
    words = re.split(r"[^a-z0-9]+", PurePosixPath(name).stem.casefold())
    found = {_SIDES[word] for word in words if word in _SIDES}
    return found.pop() if len(found) == 1 else side_of(name)


#: Folders that say what kind of file lies in them, not which plate or side it is of.
_KINDS = {
    *("images", "image", "imgs", "img", "raw", "labels", "label", "masks", "mask", "export"),
    *("segmentations", "annotations", "annotation", "json", "geojson", "rois", "roi"),
    *("gt", "truth", "ground_truth"),
}


def place_of(name: str) -> tuple[str, ...]:
    """The folders of a path without those that tell images from labels: what the two have in common."""
    folders = (part.casefold() for part in PurePosixPath(name).parts[:-1])
    return tuple(part for part in folders if part not in _KINDS)


def _longest_ending(candidates: list[Path], parts: list[str]) -> tuple[list[Path], int]:
    """Those of whose last parts the most are the same, and how many these are."""
    best: list[Path] = []
    longest = 0
    for path in candidates:
        same = 0
        for ours, theirs in zip(reversed(path.parts), reversed(parts), strict=False):
            if ours.casefold() != theirs.casefold():
                break
            same += 1
        if same > longest:
            best, longest = [path], same
        elif same == longest:
            best.append(path)
    return best, longest
