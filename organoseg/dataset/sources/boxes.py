"""Import of boxes as napari-organoid-counter writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from organoseg.dataset.sources.found import Content, Survey, of_sheet
from organoseg.dataset.sources.pairing import by_stem
from organoseg.dataset.sources.per_image import surveyed
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree
from organoseg.io.boxes_json import read_boxes


class BoxImporter:
    """One JSON file an image, called like it."""

    name = "boxes"
    title = "boxes of napari-organoid-counter"

    def files(self, tree: Tree, rules: Rules) -> Sequence[Path]:
        """JSON files of nothing but boxes."""
        return tree.json_of("boxes")

    def survey(self, tree: Tree, files: Sequence[Path], rules: Rules) -> Survey:
        """The images called like the files."""
        survey = Survey()
        pairs = by_stem(tree, files, lambda path: path.stem, survey)
        return surveyed(tree, pairs, files, _read, rules, survey)


def _read(file: Path, size: tuple[int, int], rules: Rules) -> Content:
    return of_sheet(read_boxes(file), size, rules)
