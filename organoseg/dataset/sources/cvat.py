"""Import of CVAT's XML for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from organoseg.core import DataError
from organoseg.dataset.sources.found import NO_IMAGE, Content, Entry, Survey, of_sheet
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree, side_of
from organoseg.io.cvat import read_cvat
from organoseg.io.drawn import Sheet

_HEAD = 4096


class CvatImporter:
    """One XML file for many images. An image without a drawing has no labels: CVAT lists every image of the task."""

    name = "cvat"
    title = "CVAT for images"

    def files(self, tree: Tree, rules: Rules) -> Sequence[Path]:
        """XML files of CVAT."""
        return [p for p in tree.labels if p.suffix.lower() == ".xml" and _is_cvat(p)]

    def survey(self, tree: Tree, files: Sequence[Path], rules: Rules) -> Survey:
        """The images of all files; one that is listed twice is a fault."""
        survey = Survey()
        taken: dict[Path, Path] = {}
        for file in files:
            try:
                pages = read_cvat(file)
            except DataError as error:
                survey.faults.add(error.what, tree.short(file))
                continue
            for name, subset, sheet in pages:
                _page(tree, file, name, subset, sheet, rules, taken, survey)
        used = {*taken, *(path for _, path, _ in survey.unlabelled)}
        rest, elsewhere = tree.unlabelled(used)
        survey.unlabelled += [(tree.name_of(p), p, side_of(tree.name_of(p))) for p in rest]
        if elsewhere:
            survey.notes.append(f"{elsewhere} images lie in folders that no label is about")
        return survey


def _is_cvat(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"<annotations" in file.read(_HEAD)
    except OSError:
        return False


def _page(
    tree: Tree,
    file: Path,
    name: str,
    subset: str,
    sheet: Sheet,
    rules: Rules,
    taken: dict[Path, Path],
    survey: Survey,
) -> None:
    # CVAT puts the images of a subset in images/SUBSET/; a subset is what others call a side.
    side = side_of(f"{subset}/x")
    where = f"{name} ({tree.short(file)})"
    try:
        image = tree.find(f"images/{subset}/{name}", file.parent) if subset else None
        image = image or tree.find(name, file.parent, side)
    except DataError as error:
        survey.faults.add("image name that several files have", error.what)
        return
    if image is None:
        survey.faults.add(NO_IMAGE, where)
    elif image in taken:
        survey.faults.add("image that is listed twice", where)
    else:
        own = tree.name_of(image)
        stated = side or side_of(own)
        if not sheet.drawn and not sheet.skipped:
            survey.unlabelled.append((own, image, stated))
            return
        taken[image] = file
        survey.entries.append(Entry(own, image, (file,), _loader(sheet, rules), stated))


def _loader(sheet: Sheet, rules: Rules) -> Callable[[tuple[int, int]], Content]:
    return lambda size: of_sheet(sheet, size, rules)
