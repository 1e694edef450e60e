"""A recipe for what the user has: a recipe file, or a folder of corrected images."""

from __future__ import annotations

from pathlib import Path

import yaml

from organoseg.core import DataError, read_json, write_text

LABELS, IMAGES, SUBSETS = "labels.json", "images", "subsets.json"


def recipe_for(source: Path, out: Path) -> Path:
    """The recipe of a training: ``source`` itself, or one written beside ``out`` for an exported data set.

    Of a data set, groups that were dealt to training are learnt from, those of validation are held out, and those of
    test are not touched. DataError when it has nothing to learn from.
    """
    if source.suffix.lower() in (".yaml", ".yml"):
        if not source.is_file():
            raise DataError("There is no such recipe", where=source, remedy="Check the path")
        return source
    folder = (source.parent if source.name == LABELS else source).resolve()
    if not (folder / LABELS).is_file():
        raise DataError(
            "There is nothing to learn from in this folder",
            where=folder,
            remedy="Give a recipe (YAML), or a data set that Review has exported to",
        )
    recipe = out.with_name(f"{out.name}.recipe.yaml")
    tree = {"data": _data(folder), "method": {"name": "supervised"}}
    text = yaml.safe_dump(tree, sort_keys=False)
    write_text(
        recipe, f"# Written by the napari plugin; change it and train again as you like.\n{text}"
    )
    return recipe


def _data(folder: Path) -> dict[str, dict[str, str]]:
    place = {"annotations": str(folder / LABELS), "images": str(folder / IMAGES)}
    subsets = read_json(folder / SUBSETS)
    sides = {key: subsets.get(key) for key in ("train", "validation")}
    if not sides["train"]:
        raise DataError(
            "No image of this data set is for training",
            where=folder / SUBSETS,
            remedy="Review and export more images: of few, all may have been held out",
        )
    data = {"labelled": {**place, "split": f"{folder / SUBSETS}#train"}}
    if sides["validation"]:
        data["validation"] = {**place, "split": f"{folder / SUBSETS}#validation"}
    return data
