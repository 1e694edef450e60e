"""Which models are at hand: the one that comes with organoseg, those in the cache, those of runs in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from organoseg.core import DataError, UsageError

if TYPE_CHECKING:
    from organoseg.models.folder import ModelDescription

_DESCRIPTION = "model.yaml"
#: How deep models are looked for below a folder: runs/NAME/seed-0/training/model and a little more.
DEPTH = 8
#: Folders in which no model of a user lies, and which may be large.
_SKIPPED = (".git", ".venv", "venv", "node_modules", "site-packages", "checkpoints", "__pycache__")


@dataclass(frozen=True)
class Shelved:
    """A model folder: where it is, where it comes from, and what it is or why it cannot be read."""

    path: Path
    origin: str
    description: ModelDescription | None
    problem: str | None = None


def starter_folder() -> Path | None:
    """The model that comes with organoseg; None where this installation lacks it."""
    folder = Path(__file__).parent / "starter"
    return folder if (folder / _DESCRIPTION).is_file() else None


def find_model(name: Path | str) -> Path:
    """A model that is named by its folder, that of its run, its ONNX file, or as ``starter``.

    Raises
    ------
    DataError
        The starter model is asked for, and this installation lacks it.
    """
    path = Path(name)
    if str(name) == "starter" and not path.is_dir():
        starter = starter_folder()
        if starter is None:
            raise DataError(
                "this installation lacks the starter model", remedy="Install organoseg again."
            )
        return starter
    inner = path / "model"
    return inner if not (path / _DESCRIPTION).is_file() and inner.is_dir() else path


def models_at_hand(cache: Path, folders: Sequence[Path]) -> Iterator[Shelved]:
    """The starter, the models below `cache`, and those below each of `folders`, in this order.

    A model that cannot be read is among them, with its problem.

    Raises
    ------
    UsageError
        One of `folders` is not there.
    """
    absent = [folder for folder in folders if not folder.is_dir()]
    if absent:
        raise UsageError(
            "there is no such folder",
            where=absent[0],
            remedy="Give the folder that holds your runs.",
        )
    starter = starter_folder()
    places = [("starter", starter)] if starter else []
    if cache.is_dir():
        places.append(("cache", cache))
    places += [("run", folder) for folder in folders]
    seen: set[Path] = set()
    for origin, place in places:
        for folder in below(place):
            if folder.resolve() not in seen:
                seen.add(folder.resolve())
                yield _shelved(folder, origin)


def below(folder: Path) -> Iterator[Path]:
    """Model folders at and below `folder`, in the order of their names; links are not followed."""
    for place, inner, files in os.walk(folder):
        path = Path(place)
        depth = len(path.relative_to(folder).parts)
        inner[:] = sorted(i for i in inner if i not in _SKIPPED and not i.endswith(".zarr"))
        if _DESCRIPTION in files:
            inner.clear()
            yield path
        elif depth >= DEPTH:
            inner.clear()


def _shelved(folder: Path, origin: str) -> Shelved:
    from organoseg.models.folder import WEIGHTS, read_description

    try:
        description = read_description(folder)
    except DataError as error:
        return Shelved(folder, origin, None, error.what.partition("\n")[0])
    problem = None if (folder / WEIGHTS).is_file() else "its weights are missing"
    return Shelved(folder, origin, description, problem)
