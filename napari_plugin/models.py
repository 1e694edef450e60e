"""The models to choose from: those that the user added, those of runs in the working folder, and the starter model
that comes with organoseg. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from organoseg.core import DataError

from . import settings

DESCRIPTION = "model.yaml"
_NEARBY = ("*/model", "runs/*/model", "demo/*/model", "demo/*/*/model")


@dataclass(frozen=True)
class KnownModel:
    """One line of the list: where it is, what it is called, and what its description says."""

    folder: Path
    title: str
    facts: str


def describe(folder: Path) -> KnownModel:
    """What ``model.yaml`` says, in words.

    Raises DataError when there is no model, or its description is damaged.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise DataError(
            "There is no model in this folder (model.yaml is missing)",
            where=folder,
            remedy="Choose the folder “model” of a finished training run",
        )
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
        engine, created = str(said["engine"]), str(said["created"])
        trained = said.get("trained_with") or {}
    except (
        OSError,
        UnicodeDecodeError,
        yaml.YAMLError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise DataError(
            "The model's description cannot be read", where=path, remedy="Copy the model again"
        ) from error
    # The run's folder says more than the word "model".
    title = folder.parent.name if folder.name in ("model", "student") else folder.name
    images = trained.get("labelled_images") if isinstance(trained, dict) else None
    learnt = f"{images} labelled images, " if images is not None else ""
    return KnownModel(
        folder, title or str(folder), f"{engine}, {learnt}made {created[:10]}\n{folder}"
    )


def known_models() -> list[KnownModel]:
    """Models that can be read, those that the user added first, each once; the starter model last.

    So that it is what is chosen where there is no other, and never instead of one of the user's.
    """
    folders = [Path(p) for p in settings.recall("models", [])]
    for pattern in _NEARBY:
        folders += sorted(p for p in Path.cwd().glob(pattern) if (p / DESCRIPTION).is_file())
    found: dict[Path, KnownModel] = {}
    for folder in folders:
        try:
            found.setdefault(folder.resolve(), describe(folder))
        except DataError:
            continue  # it was moved or deleted; it comes back with its folder
    return [*found.values(), *_starter()]


def _starter() -> list[KnownModel]:
    """The starter model; none where this installation lacks it."""
    from organoseg.models.starter import TITLE, starter, starter_facts

    try:
        facts = starter_facts()
        home = starter()
    except DataError:
        return []
    said = f"{facts.identity}, learned from synthetic pictures alone: look at its masks before you count with them"
    return [KnownModel(home, TITLE, f"{said}\n{home}")]


def add_model(folder: Path) -> KnownModel:
    """Remember a model as the first of the list; DataError where there is none."""
    model = describe(folder)
    rest = [p for p in settings.recall("models", []) if Path(p) != folder.resolve()]
    settings.remember("models", [str(folder.resolve()), *rest])
    return model
