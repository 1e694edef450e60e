"""Import of Cellpose's ``_seg.npy`` files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from organoseg.dataset.sources.found import Content, Survey, of_labels
from organoseg.dataset.sources.pairing import by_stem
from organoseg.dataset.sources.per_image import surveyed
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree
from organoseg.io.cellpose import read_cellpose

_END = "_seg"


class CellposeImporter:
    """One file an image, called like it."""

    name = "cellpose"
    title = "Cellpose (_seg.npy)"

    def files(self, tree: Tree, rules: Rules) -> Sequence[Path]:
        """Files that end in _seg.npy."""
        return [p for p in tree.labels if p.name.lower().endswith(f"{_END}.npy")]

    def survey(self, tree: Tree, files: Sequence[Path], rules: Rules) -> Survey:
        """The images called like the files: ``A01_seg.npy`` belongs to ``A01.tif``."""
        survey = Survey()
        pairs = by_stem(tree, files, lambda path: path.stem[: -len(_END)], survey)
        return surveyed(tree, pairs, files, _read, rules, survey)


def _read(file: Path, size: tuple[int, int], rules: Rules) -> Content:
    labels, authors = read_cellpose(file)
    return of_labels(labels, size, rules, authors)
