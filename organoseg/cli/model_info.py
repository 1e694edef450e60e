"""`organoseg model list` and `info`: which models are at hand, and what one of them is."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from organoseg.cli.console import print_json
from organoseg.cli.options import verbosity_options

if TYPE_CHECKING:
    from organoseg.models.shelf import Shelved


def add_verbs(actions: Any) -> None:
    """Declare the two actions; each sets its own `run_action`."""
    listed = actions.add_parser(
        "list",
        help="list the models at hand",
        description="List the models at hand: the one that comes with organoseg, those in the cache, and those of "
        "runs below each PATH.",
        parents=[verbosity_options()],
    )
    listed.add_argument(
        "paths",
        nargs="*",
        type=Path,
        default=[Path()],
        metavar="PATH",
        help="folders of runs (default: this one)",
    )
    listed.add_argument("--json", action="store_true", help="write the list as JSON to stdout")
    listed.set_defaults(run_action=run_list)
    info = actions.add_parser(
        "info",
        help="show what a model is",
        description="Show the card of a model: engine, classes, what it learned from, how good it is, and whether its "
        "weights are whole. Exit code 3 when they are not.",
        parents=[verbosity_options()],
    )
    info.add_argument(
        "model",
        metavar="MODEL",
        help="a model's folder, the folder of a run, an exported .onnx file, or `starter`",
    )
    info.add_argument("--json", action="store_true", help="write the facts as JSON to stdout")
    info.set_defaults(run_action=run_info)


def run_list(args: argparse.Namespace) -> int:
    """Print a line a model."""
    from organoseg.models.published.store import cache_folder
    from organoseg.models.shelf import models_at_hand

    found = list(models_at_hand(cache_folder() / "models", args.paths))
    if args.json:
        print_json({"models": [_plain(model) for model in found]})
    elif found:
        print(_table(found))
    else:
        print("No model is here yet. Train one: organoseg train configs/supervised.yaml --out RUN")
    return 0


def run_info(args: argparse.Namespace) -> int:
    """Print the card, and whether the weights are those that it speaks of."""
    from organoseg.core import DataError, file_hash
    from organoseg.models.card import model_card
    from organoseg.models.export.onnx_file import is_onnx
    from organoseg.models.folder import CARD, WEIGHTS, read_description
    from organoseg.models.shelf import find_model

    folder = find_model(args.model)
    if is_onnx(folder):
        return _onnx_info(folder, args.json)
    description = read_description(folder)
    weights = folder / WEIGHTS
    whole = weights.is_file() and file_hash(weights) == description.weights_sha256
    if args.json:
        facts = {"path": str(folder), "identity": description.identity, "whole": whole}
        print_json({**facts, **description.model_dump(mode="json")})
    else:
        card = folder / CARD
        text = card.read_text(encoding="utf-8") if card.is_file() else model_card(description)
        print(_without_front_matter(text))
        state = "are whole" if whole else "ARE MISSING OR DAMAGED: copy the model folder again"
        print(f"{folder}: the weights {state} (SHA-256)")
    return 0 if whole else DataError.exit_code


def _onnx_info(path: Path, as_json: bool) -> int:
    """The same of an exported model, which says what it is and is asked about a small image.

    Raises AbsentPart where onnxruntime is not installed, DataError for a file that is damaged or not ours.
    """
    from organoseg.models.card import onnx_card
    from organoseg.models.export.onnx_engine import load_onnx

    _, description = load_onnx(path)
    if as_json:
        facts = {"path": str(path), "identity": description.identity, "whole": True}
        facts["bytes"] = path.stat().st_size
        print_json({**facts, **description.model_dump(mode="json")})
    else:
        print(onnx_card(description, path))
        print(f"{path}: the file is whole: it runs, and answers as its description says")
    return 0


HEADINGS = ("from", "model", "classes", "learned from", "score", "µm/px", "folder")


def _table(models: Sequence[Shelved]) -> str:
    """A line a model; one that cannot be used says why, across the columns."""
    rows = [_row(model) for model in models]
    whole = [HEADINGS, *(row for row in rows if row is not None)]
    widths = [max(len(row[column]) for row in whole) for column in range(len(HEADINGS) - 1)]
    lines = [_line(HEADINGS, widths)]
    for model, row in zip(models, rows, strict=True):
        if row is None:
            lines.append(
                f"{model.origin:<{widths[0]}}  cannot be used: {model.problem}  {model.path}"
            )
        else:
            lines.append(_line(row, widths))
    return "\n".join(lines)


def _row(model: Shelved) -> tuple[str, ...] | None:
    known = model.description
    if known is None or model.problem:
        return None
    size = "-" if known.pixel_size is None else f"{known.pixel_size:.3g}"
    learned, score = _learned(known.trained_with), f"{known.score_threshold:.2f}"
    classes = ", ".join(known.classes.values())
    return (model.origin, known.identity, classes, learned, score, size, str(model.path))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=True)]
    return "  ".join([*cells, row[-1]])


def _learned(facts: dict[str, Any]) -> str:
    method, labelled, others = (
        facts.get(key) for key in ("method", "labelled_images", "unlabelled_images")
    )
    if labelled is None:
        return str(method or "-")
    return f"{method}: {labelled} labelled" + (f" + {others}" if others else "")


def _plain(model: Shelved) -> dict[str, Any]:
    facts: dict[str, Any] = {"path": str(model.path), "origin": model.origin}
    if model.description is not None:
        facts |= {"identity": model.description.identity}
        facts |= model.description.model_dump(mode="json")
    return facts | ({"problem": model.problem} if model.problem else {})


def _without_front_matter(text: str) -> str:
    if not text.startswith("---\n"):
        return text
    return text.partition("\n---\n")[2].lstrip("\n")
