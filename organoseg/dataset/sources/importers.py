"""The formats that can be imported, and which one a source is in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from organoseg.core import DataError, UsageError
from organoseg.dataset.sources.boxes import BoxImporter
from organoseg.dataset.sources.cellpose import CellposeImporter
from organoseg.dataset.sources.coco import CocoImporter
from organoseg.dataset.sources.cvat import CvatImporter
from organoseg.dataset.sources.found import Survey
from organoseg.dataset.sources.imagej import ImagejImporter
from organoseg.dataset.sources.label_images import LabelImageImporter
from organoseg.dataset.sources.labelme import LabelMeImporter
from organoseg.dataset.sources.qupath import QuPathImporter
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree


class Importer(Protocol):
    """Finds the images and labels of one format."""

    @property
    def name(self) -> str:
        """What ``--format`` calls it."""
        ...

    @property
    def title(self) -> str:
        """What a person calls it."""
        ...

    def files(self, tree: Tree, rules: Rules) -> Sequence[Path]:
        """The files of labels that are of this format; none when the source is in another."""
        ...

    def survey(self, tree: Tree, files: Sequence[Path], rules: Rules) -> Survey:
        """The images that they are about, and every fault that shows without reading an image."""
        ...


IMPORTERS: dict[str, Importer] = {
    importer.name: importer
    for importer in (
        CocoImporter(),
        LabelMeImporter(),
        CvatImporter(),
        QuPathImporter(),
        ImagejImporter(),
        CellposeImporter(),
        BoxImporter(),
        LabelImageImporter(),
    )
}


def recognised(tree: Tree, rules: Rules, wanted: str) -> tuple[Importer, Sequence[Path]]:
    """The importer for a source and the files that it reads; ``wanted``: a format, or "auto".

    UsageError for a format that does not exist, or when several would do; DataError when none does. Label images count
    only where nothing else is there: several tools write them beside their own files.
    """
    if wanted != "auto":
        if wanted not in IMPORTERS:
            raise UsageError(
                f"There is no format {wanted!r}", remedy=f"Name one of {', '.join(IMPORTERS)}."
            )
        importer = IMPORTERS[wanted]
        files = importer.files(tree, rules)
        if not files:
            raise DataError(f"There are no files of {importer.title} here", where=tree.source)
        return importer, files
    found = {name: importer.files(tree, rules) for name, importer in IMPORTERS.items()}
    found = {name: files for name, files in found.items() if files}
    if rules.label_pattern is not None:
        found = {name: files for name, files in found.items() if name == LabelImageImporter.name}
    elif len(found) > 1:
        found.pop(LabelImageImporter.name, None)
    if not found:
        broken = tree.json_of("broken")
        raise DataError(
            "No labels were found here that can be imported"
            + (
                f"; {tree.short(broken[0])}: {tree.json_facts(broken[0]).trouble}" if broken else ""
            ),
            where=tree.source,
            remedy=f"Formats are {', '.join(IMPORTERS)}. For label images with other names: --image-pattern and "
            "--label-pattern.",
        )
    if len(found) > 1:
        kinds = ", ".join(f"{name} ({files[0].name})" for name, files in found.items())
        raise UsageError(
            f"The labels are here in several formats: {kinds}",
            where=tree.source,
            remedy="Say which to take: --format NAME.",
        )
    name, files = next(iter(found.items()))
    return IMPORTERS[name], files
