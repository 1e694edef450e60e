"""Import of boxes as napari-organoid-counter writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from organoseg.dataset.sources.found import Content, Survey, of_sheet
from organoseg.dataset.sources.pairing import by_stem
from organoseg.dataset.sources.per_image import surveyed
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree
from organoseg.io.boxes_json import read_boxes

_CORNERS = {"x1", "y1", "x2", "y2"}


class BoxImporter:
    """One JSON file an image, called like it."""

    name = "boxes"
    title = "boxes of napari-organoid-counter"

    def files(self, tree: Tree, rules: Rules) -> Sequence[Path]:
        """JSON files of nothing but boxes."""
        return [
            p for p in tree.labels if p.suffix.lower() == ".json" and _is_boxes(tree.document(p))
        ]

    def survey(self, tree: Tree, files: Sequence[Path], rules: Rules) -> Survey:
        """The images called like the files."""
        survey = Survey()
        pairs = by_stem(tree, files, lambda path: path.stem, survey)
        return surveyed(tree, pairs, files, _read, rules, survey)


def _is_boxes(data: Any) -> bool:
    return (
        isinstance(data, dict)
        and bool(data)
        and all(isinstance(box, dict) and box.keys() >= _CORNERS for box in data.values())
    )


def _read(file: Path, size: tuple[int, int], rules: Rules) -> Content:
    return of_sheet(read_boxes(file), size, rules)
