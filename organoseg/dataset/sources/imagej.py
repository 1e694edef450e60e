"""Import of ImageJ's ROI archives."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from organoseg.dataset.sources.found import Content, Survey, of_sheet
from organoseg.dataset.sources.pairing import by_stem
from organoseg.dataset.sources.per_image import surveyed
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree
from organoseg.io.roi_in import is_roi_zip, read_rois

_AROUND = re.compile(r"^rois?(?:_?set)?[_-]|[_. -](?:rois?|roi_?set)$", re.IGNORECASE)


class ImagejImporter:
    """One archive an image, called like it."""

    name = "imagej"
    title = "ImageJ ROIs"

    def files(self, tree: Tree, rules: Rules) -> Sequence[Path]:
        """Zip files that hold nothing but ROIs, and single ROIs."""
        zips = [path for path in tree.labels if path.suffix.lower() == ".zip"]
        good = {path for path in zips if is_roi_zip(path)}
        # Beside archives of ROIs one that cannot be opened was one of them, and must not go unnoticed.
        damaged = [path for path in zips if good and not zipfile.is_zipfile(path)]
        single = [path for path in tree.labels if path.suffix.lower() == ".roi"]
        return sorted([*good, *damaged, *single])

    def survey(self, tree: Tree, files: Sequence[Path], rules: Rules) -> Survey:
        """The images called like the archives: ``A01.zip``, ``A01_RoiSet.zip``, ``RoiSet_A01.zip`` and the like."""
        survey = Survey()
        pairs = by_stem(tree, files, _stem, survey)
        return surveyed(tree, pairs, files, _read, rules, survey)


def _stem(path: Path) -> str:
    return _AROUND.sub("", path.stem)


def _read(file: Path, size: tuple[int, int], rules: Rules) -> Content:
    return of_sheet(read_rois(file), size, rules)
