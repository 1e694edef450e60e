"""A recipe for what the user has: a recipe file, or a folder of corrected images."""

from __future__ import annotations

from pathlib import Path

import yaml

from organoseg.core import DataError, write_text

ANNOTATIONS = "instances.json"


def recipe_for(source: Path, out: Path) -> Path:
    """The recipe of a training: ``source`` itself, or one written beside ``out`` for an exported folder.

    An exported folder has ``train/instances.json`` and, where images were held out, ``validation/instances.json``;
    a folder with one ``instances.json`` is all for training. DataError when it has neither.
    """
    if source.suffix.lower() in (".yaml", ".yml"):
        if not source.is_file():
            raise DataError("There is no such recipe", where=source, remedy="Check the path")
        return source
    folder = source.parent if source.name == ANNOTATIONS else source
    data = _parts(folder.resolve())
    recipe = out.with_name(f"{out.name}.recipe.yaml")
    text = yaml.safe_dump({"data": data, "method": {"name": "supervised"}}, sort_keys=False)
    write_text(
        recipe, f"# Written by the napari plugin; change it and train again as you like.\n{text}"
    )
    return recipe


def _parts(folder: Path) -> dict[str, dict[str, str]]:
    places = {"labelled": (folder / "train", folder), "validation": (folder / "validation",)}
    found = {}
    for key, candidates in places.items():
        for place in candidates:
            if (place / ANNOTATIONS).is_file():
                found[key] = {"annotations": str(place / ANNOTATIONS), "images": str(place)}
                break
    if "labelled" not in found:
        raise DataError(
            "There is nothing to learn from in this folder",
            where=folder,
            remedy="Give a recipe (YAML), or a folder that Review has exported to",
        )
    return found
