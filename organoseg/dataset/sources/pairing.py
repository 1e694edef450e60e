"""Which label file belongs to which image."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from organoseg.core import UsageError
from organoseg.dataset.sources.found import NO_IMAGE, Survey
from organoseg.dataset.sources.tree import Tree, place_of, side_of

Key = tuple[str, ...]


def by_stem(
    tree: Tree, files: Sequence[Path], stem_of: Callable[[Path], str], survey: Survey
) -> list[tuple[Path, Path]]:
    """(image, label file) of tools that name a label file after its image.

    The image lies beside it, or is the only one of that name in a folder like its own (``images/p1`` and ``rois/p1``),
    on its side (train, val, test), or at all. What has none, or several, or is the second for its image, is a fault.
    """
    if tree.images.is_file() and len(files) == 1:
        return [(tree.images, files[0])]
    stems: dict[str, list[Path]] = defaultdict(list)
    for path in tree.pictures:
        stems[path.stem.casefold()].append(path)
    pairs: list[tuple[Path, Path]] = []
    taken: dict[Path, Path] = {}
    for file in files:
        found = _closest(tree, file, stems.get(stem_of(file).casefold(), []))
        if len(found) != 1:
            kind = NO_IMAGE if not found else "labels that several images have the name for"
            survey.faults.add(kind, tree.short(file))
        elif found[0] in taken:
            who = f"{tree.short(taken[found[0]])} and {tree.short(file)}"
            survey.faults.add("two files of labels for one image", who)
        else:
            taken[found[0]] = file
            pairs.append((found[0], file))
            if place_of(tree.name_of(found[0])) != place_of(tree.short(file)):
                tree.by_name_alone.append(tree.name_of(found[0]))
    return pairs


def _closest(tree: Tree, file: Path, found: list[Path]) -> list[Path]:
    """Of images that are called alike: those beside the file, else in a folder like its own, else on no other side."""
    place, side = place_of(tree.short(file)), side_of(tree.short(file))
    sides = {path: side_of(tree.name_of(path)) for path in found}
    for closer in (
        [path for path in found if path.parent == file.parent],
        [path for path in found if place_of(tree.name_of(path)) == place],
        [path for path in found if side is not None and sides[path] == side],
    ):
        if closer:
            return closer
    return [path for path in found if side is None or sides[path] is None]


def compiled(pattern: str) -> re.Pattern[str]:
    """A file name pattern: ``*`` stands for what image and label share, ``.*`` at the end for any suffix.

    UsageError for one without ``*``.
    """
    text, any_suffix = (pattern[:-2], True) if pattern.endswith(".*") else (pattern, False)
    if "*" not in text:
        raise UsageError(
            f"The pattern {pattern!r} has no *", remedy="Write one such as '*_masks.png'."
        )
    pieces = [re.escape(piece) for piece in text.split("*")]
    # Without a folder in the pattern the folder is a part of what is shared.
    return re.compile("(.*)".join(pieces) + (r"\.[^./]+" if any_suffix else ""), re.IGNORECASE)


def matched(paths: Iterable[Path], pattern: str, name_of: Callable[[Path], str]) -> dict[Key, Path]:
    """The paths that a pattern fits, by what its stars stand for; UsageError when two stand for the same."""
    expression = compiled(pattern)
    found: dict[Key, Path] = {}
    for path in paths:
        match = expression.fullmatch(name_of(path))
        if match is None:
            continue
        key = tuple(piece.casefold() for piece in match.groups())
        if key in found:
            raise UsageError(
                f"The pattern {pattern!r} takes {found[key].name} and {path.name} for the same",
                remedy="Put everything but the shared part of the name into the pattern.",
            )
        found[key] = path
    return found
