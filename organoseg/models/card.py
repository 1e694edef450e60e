"""The card of a model: what a person must know who finds its folder, from its description and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from organoseg.models.folder import ModelDescription

#: Which figures of an evaluation the card shows, and by what words.
_FIGURES = {
    "AP": "mask AP, mean over IoU .50 to .95",
    "AP50": "mask AP at IoU .50",
    "AP75": "mask AP at IoU .75",
    "F1": "F1 at IoU .50, at the best score",
    "precision": "precision there",
    "recall": "recall there",
    "recall_overlapping": "organoids found that overlap others (all predictions, IoU .50)",
    "recall_isolated": "organoids found that lie alone (all predictions, IoU .50)",
    "mSA": "mSA, mean over IoU .50 to .95",
    "count_error": "error of the count, organoids an image",
}
#: Facts of the training by the words of the card; what else there is stands below as it is.
_FACTS = {
    "method": "method",
    "preset": "preset",
    "labelled_images": "labelled images",
    "unlabelled_images": "unlabelled images",
    "lost_chunks": "chunks of the archive that could not be read",
    "steps": "optimiser steps",
    "seed": "seed",
    "score_threshold_from": "score threshold chosen on",
}


def model_card(
    description: ModelDescription,
    figures: Mapping[str, Any] | None = None,
    thumbnail: str | None = None,
) -> str:
    """The card as Markdown, with front matter as on the Hugging Face hub.

    Parameters
    ----------
    figures
        What `Evaluation.to_dict` gives, measured on images held out of the training; None where there were none.
    thumbnail
        Name of a picture in the folder of the model.
    """
    parts = [
        f"---\n{_front(description, figures)}---",
        f"# organoseg model {description.identity}",
        *([f"![Organoids that it found in an image held out]({thumbnail})"] if thumbnail else []),
        "Outlines organoids in images; masks may overlap. Use it with\n\n"
        "    organoseg predict IMAGES --model THIS_FOLDER --out RESULTS",
        "## What it is",
        _table(_what(description)),
        "## How good it is",
        _quality(figures),
        "## What it learned from",
        _training(description.trained_with),
        "## Limits",
        "It knows the kind of images that it was trained on. Look at its masks before you trust its counts. Figures "
        "above come from the images named there and from no others.",
        "## Licence",
        "The weights carry no licence of their own: whoever owns the images that they learned from says who may have "
        "them. organoseg itself is under the BSD 3-Clause licence.",
    ]
    return "\n\n".join(parts) + "\n"


def onnx_card(description: ModelDescription, file: Path) -> str:
    """What a person must know of an exported model in ``file``, as Markdown."""
    origin = description.trained_with.get("exported_from")
    from_ = f"that it was exported from: {origin}" if origin else "that it was exported from"
    size, takes = f"{file.stat().st_size / 1e6:.1f} MB", "any size, one channel, one plane"
    rows = [
        *_what(description, "the file"),
        ("size of the file", size),
        ("images it takes", f"{takes}; large ones are looked at in windows (`predict --tile`)"),
        ("exported from", f"`{origin}`" if origin else "not known"),
    ]
    facts = {k: v for k, v in description.trained_with.items() if k != "exported_from"}
    parts = [
        f"# organoseg model {description.identity}",
        "Outlines organoids in images; masks may overlap. It runs on the processor, without torch. Use it with\n\n"
        f"    organoseg predict IMAGES --model {file} --out RESULTS",
        "## What it is",
        _table(rows),
        "## How good it is",
        f"The file does not say. Figures stand in the card of the model {from_}.",
        "## What it learned from",
        _training(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _front(description: ModelDescription, figures: Mapping[str, Any] | None) -> str:
    facts: dict[str, Any] = {
        "library_name": "organoseg",
        "pipeline_tag": "image-segmentation",
        "license": "unknown",
        "tags": ["organoids", "instance-segmentation", "microscopy", description.engine],
    }
    if figures:
        shown = {
            name: round(figures[name], 4) for name in _FIGURES if _is_number(figures.get(name))
        }
        facts["metrics"] = list(shown)
        facts["results"] = shown
    return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)


def _what(
    description: ModelDescription, weights: str = "`weights.safetensors`"
) -> list[tuple[str, str]]:
    rows = [
        ("engine", f"`{description.engine}`"),
        ("classes", ", ".join(description.classes.values())),
        ("organoids are reported from score", f"{description.score_threshold:.3g}"),
    ]
    if description.thorough_threshold is not None:
        rows.append(("the same with `--thorough`", f"{description.thorough_threshold:.3g}"))
    size = description.pixel_size
    known = f"{size:.4g} µm: images that say theirs are brought to it" if size else "not known"
    rows += [
        ("pixel size of its training images", known),
        ("made", description.created),
        (f"SHA-256 of {weights}", f"`{description.weights_sha256}`"),
    ]
    return rows


def _quality(figures: Mapping[str, Any] | None) -> str:
    if not figures:
        return (
            "Not measured: no images were held out of the training. Hold some out (`data.validation`), or "
            "measure it with `organoseg evaluate` on images that took no part."
        )
    rows = [(words, _number(figures[name])) for name, words in _FIGURES.items() if name in figures]
    count, organoids = figures.get("images"), figures.get("organoids")
    on = f"On {count} images with {organoids} organoids, " if count is not None else "On images "
    overlapping = figures.get("overlapping_organoids")
    some = f", {overlapping} of which overlap" if overlapping is not None else ""
    note = (
        f"{on.rstrip(', ')}{some}, held out of the training. They chose the score threshold as well, and in "
        "guided runs the moment when teachers are exchanged, so the figures flatter a little: measure on images that "
        "took no part at all before you publish one."
    )
    return f"{_table(rows)}\n\n{note}"


def _training(facts: Mapping[str, Any]) -> str:
    if not facts:
        return "Nothing is written down."
    rows = [(words, str(facts[k])) for k, words in _FACTS.items() if facts.get(k) not in (None, "")]
    rest = {k: v for k, v in facts.items() if k not in _FACTS}
    text = _table(rows) if rows else ""
    if rest:
        text += "\n\n```yaml\n" + yaml.safe_dump(rest, sort_keys=False, allow_unicode=True) + "```"
    if rows:
        text += "\n\nThe whole recipe is `recipe.yaml` in the folder of the run."
    return text.strip()


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> str:
    return f"{value:.3f}" if _is_number(value) else "no value"
