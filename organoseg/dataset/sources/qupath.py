"""Import of GeoJSON as QuPath and organoseg write it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from organoseg.dataset.sources.found import Content, Survey, of_sheet
from organoseg.dataset.sources.pairing import by_stem
from organoseg.dataset.sources.per_image import surveyed
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree
from organoseg.io.geojson_in import read_geojson


class QuPathImporter:
    """One file an image, called like it."""

    name = "qupath"
    title = "GeoJSON (QuPath)"

    def files(self, tree: Tree, rules: Rules) -> Sequence[Path]:
        """Files that end in .geojson, and JSON files with features."""
        own = [path for path in tree.labels if path.suffix.lower() == ".geojson"]
        return sorted([*own, *tree.json_of("geojson")])

    def survey(self, tree: Tree, files: Sequence[Path], rules: Rules) -> Survey:
        """The images that are called like the files: ``A01.geojson`` belongs to ``A01.tif``."""
        survey = Survey()
        pairs = by_stem(tree, files, _stem, survey)
        return surveyed(tree, pairs, files, _read, rules, survey)


def _stem(path: Path) -> str:
    return path.stem.removesuffix(".ome")


def _read(file: Path, size: tuple[int, int], rules: Rules) -> Content:
    return of_sheet(read_geojson(file), size, rules)
