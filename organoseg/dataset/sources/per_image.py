"""What the formats with one file of labels an image have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from organoseg.dataset.sources.found import Content, Entry, Survey
from organoseg.dataset.sources.rules import Rules
from organoseg.dataset.sources.tree import Tree, side_of

Read = Callable[[Path, tuple[int, int], Rules], Content]


def surveyed(
    tree: Tree,
    pairs: Iterable[tuple[Path, Path]],
    files: Iterable[Path],
    read: Read,
    rules: Rules,
    survey: Survey,
) -> Survey:
    """Entries of (image, file of labels); the images of their folders that have none are unlabelled.

    A file of labels that is empty says that somebody looked: its image is one without organoids.
    """
    used: set[Path] = set(files)
    for image, file in pairs:
        name = tree.name_of(image)
        side = side_of(name) or side_of(tree.short(file))
        survey.entries.append(Entry(name, image, (file,), _loader(file, read, rules), side))
        used.add(image)
    rest, elsewhere = tree.unlabelled(used)
    images = {entry.image.parent for entry in survey.entries}
    near = [path for path in rest if path.parent in images]
    survey.unlabelled += [(tree.name_of(p), p, side_of(tree.name_of(p))) for p in near]
    elsewhere += len(rest) - len(near)
    if elsewhere:
        survey.notes.append(f"{elsewhere} images lie in folders that no label is about")
    return survey


def _loader(file: Path, read: Read, rules: Rules) -> Callable[[tuple[int, int]], Content]:
    return lambda size: read(file, size, rules)
