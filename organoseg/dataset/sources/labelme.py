"""Import of LabelMe's JSON files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from organoseg.core import DataError
from organoseg.dataset.sources.found import NO_IMAGE, Content, Survey, of_sheet
from organoseg.dataset.sources.per_image import surveyed
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree, side_of
from organoseg.io.labelme import read_labelme


class LabelMeImporter:
    """One JSON file an image, which names its image."""

    name = "labelme"
    title = "LabelMe"

    def files(self, tree: Tree, rules: Rules) -> Sequence[Path]:
        """JSON files with shapes."""
        return tree.json_of("labelme")

    def survey(self, tree: Tree, files: Sequence[Path], rules: Rules) -> Survey:
        """The images that the files name, or else that are called like them."""
        survey = Survey()
        pairs: list[tuple[Path, Path]] = []
        taken: dict[Path, Path] = {}
        for file in files:
            image = _image(tree, file, survey)
            if image is None:
                continue
            if image in taken:
                who = f"{tree.short(taken[image])} and {tree.short(file)}"
                survey.faults.add("two files of labels for one image", who)
                continue
            taken[image] = file
            pairs.append((image, file))
        return surveyed(tree, pairs, files, _read, rules, survey)


def _image(tree: Tree, file: Path, survey: Survey) -> Path | None:
    side = side_of(tree.short(file))
    named = tree.json_facts(file).named
    try:
        found = tree.find(named, file.parent, side) if named else None
        if found is None:
            same = [p for p in tree.pictures if p.stem == file.stem and p.parent == file.parent]
            found = same[0] if len(same) == 1 else None
    except DataError as error:
        survey.faults.add("image name that several files have", error.what)
        return None
    if found is None:
        survey.faults.add(NO_IMAGE, f"{named or file.stem} ({tree.short(file)})")
    return found


def _read(file: Path, size: tuple[int, int], rules: Rules) -> Content:
    return of_sheet(read_labelme(file)[0], size, rules)
