"""The starter model: made from a run of `synthetic_start.py`, measured without having seen a real label, and looked at.

    python benchmarks/starter.py pack runs/starter/training/model
    python benchmarks/starter.py measure --data DIR --split val --peer OrganoID=organoid_val.json --out results
    python benchmarks/starter.py curve --data DIR --out results        # the growing world
    python benchmarks/starter.py card --results results
    python benchmarks/starter.py sheet --data DIR --out results        # beside real pictures: for this computer only
    python benchmarks/starter.py sheet --out results                   # synthetic pictures alone

`--data` is M-OrgaQuant. Whatever was chosen, was chosen on `val`; `test` is for the figure that is told. `pack` stores
the weights in half precision: they are as good, and half as large.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peers import Peer, measure_peer, parse_peer
from benchmarks.starter_card import card
from benchmarks.synthetic_start import WORLDS
from benchmarks.tables import markdown, number, publish
from benchmarks.testset import choose_test_set
from organoseg.core import Instances, OrganosegError, UsageError, write_text
from organoseg.dataset.labelled import LabelledImage
from organoseg.dataset.world import World
from organoseg.models.starter import starter

HOME = Path(__file__).resolve().parents[1] / "organoseg" / "models" / "starter"
LARGEST = 12_000_000
#: Of what a training says of itself, what is true of the package's model anywhere.
KEPT = ("method", "steps", "seed", "labelled_images", "score_threshold_from")
FIGURES = {
    "AP": "AP", "AP50": "AP50", "AP75": "AP75", "F1": "F1", "precision": "precision",
    "recall": "recall", "recall_overlapping_at_threshold": "overlapping found",
    "recall_isolated_at_threshold": "isolated found", "count_error": "count error",
}  # fmt: skip
#: A picture is one crop, so that pieces at its border are as they are at a real picture's.
WHOLE_FIELD = "training.augmentation.scale=[1.0, 1.0]"
#: Grey pictures of a sheet are so large, px.
SIDE = 300


# -- pack ----------------------------------------------------------------------------------------


def pack(
    model: Path,
    home: Path = HOME,
    thresholds: tuple[float, float] | None = None,
    chosen_on: str = "val",
) -> None:
    """The model folder of the package, with its card, out of a trained one.

    ``thresholds``: scores from which organoids are reported, of a plain and of a thorough look, chosen on the images
    ``chosen_on``; None keeps those that the drawn pictures chose.

    UsageError where it would be larger than the package may carry.
    """
    from organoseg.models.folder import load_module, save_model

    module, known = load_module(model)
    module.half()
    size = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    if size > LARGEST:
        raise UsageError(f"{size / 1e6:.1f} MB are too large for the package", where=model)
    facts = {k: v for k, v in known.trained_with.items() if k in KEPT}
    plain, thorough = thresholds or (known.score_threshold, known.thorough_threshold)
    if thresholds is not None:
        facts["score_threshold_from"] = chosen_on
    facts |= {"images": "synthetic alone (organoseg.dataset.world)", "real_labels": 0}
    save_model(
        home,
        module,
        known.engine,
        known.options,
        known.classes,
        plain,
        facts,
        thorough,
    )
    write_card(home, None)


def write_card(home: Path, results: Path | None) -> None:
    """`README.md` of the package's model, with the figures that `measure` left in a folder."""
    from organoseg.models.folder import read_description

    size = (home / "weights.safetensors").stat().st_size
    write_text(home / "README.md", card(read_description(home), size, results))


# -- measure -------------------------------------------------------------------------------------


def measure(
    data: Path, split: str, model: Path | None, peers: Sequence[Peer], bootstrap: int
) -> dict[str, Any]:
    """Figures of a model (default: the starter) and of peers on `val` or `test`, each as it comes."""
    from organoseg.evaluation import evaluate
    from organoseg.inference.api import load_model
    from organoseg.training.validation import predict_dataset

    test = choose_test_set(data, data / f"instances_{split}.json", data / split)
    folder = model or starter()
    ready = load_model(folder, "cpu")
    found = predict_dataset(ready.module, test.load(), ready.device)[0]
    labels = test.labels()
    figures = evaluate(
        found,
        labels.instances,
        score_threshold=ready.score_threshold,
        bootstrap=bootstrap,
        first_id=labels.first_id,
    )
    rows = [{"name": f"starter ({ready.description.identity})", **figures.to_dict()}]
    rows += [measure_peer(peer, test, bootstrap) for peer in peers]
    return {"split": split, "images": len(test.names), "rows": rows}


def table(result: dict[str, Any]) -> str:
    """As Markdown: F1, precision, recall and counts at the threshold at which F1 is best; F1 at the model's own too."""
    headers = [result["split"], *FIGURES.values(), "AP, 95 %", "F1 at its own threshold"]
    lines = []
    for row in result["rows"]:
        low, high = row["intervals"].get("AP", (None, None))
        own = row.get("at_given_threshold") or {}
        digits = {"count_error": 2}
        lines.append(
            [
                row["name"],
                *(number(row[key], digits.get(key, 3)) for key in FIGURES),
                f"{number(low)} to {number(high)}",
                number(own.get("F1")),
            ]
        )
    return markdown(headers, lines)


# -- curve ---------------------------------------------------------------------------------------


def curve(
    data: Path, out: Path, worlds: Sequence[str], images: int, steps: int, overrides: Sequence[str]
) -> dict[str, Any]:
    """Figures on `val` of a model trained in each world, from one seed; trainings that are done stay as they are."""
    from benchmarks.synthetic_start import main as start

    rows = []
    for world in worlds:
        run = out / "worlds" / f"{world}-{images}-{steps}"
        if not (run / "training" / "model" / "model.yaml").is_file():
            settings = [f"training.steps={steps}", f"training.validate_every={steps}", WHOLE_FIELD]
            sets = [word for setting in (*settings, *overrides) for word in ("--set", setting)]
            sized = ["--size", "256", "--images", str(images), "--validation", "20"]
            start(["--out", str(run), "--world", world, *sized, *sets])
        (row,) = measure(data, "val", run / "training" / "model", [], 0)["rows"]
        rows.append({**row, "name": world})
    return {"split": "val", "images": images, "steps": steps, "rows": rows}


def curve_table(result: dict[str, Any]) -> str:
    """As Markdown."""
    keys = tuple(FIGURES)[:8]
    lines = [[row["name"], *(number(row[key]) for key in keys)] for row in result["rows"]]
    said = f"{result['images']} pictures, {result['steps']} steps, one seed."
    return markdown(["world", *(FIGURES[key] for key in keys)], lines) + "\n\n" + said


# -- sheet ---------------------------------------------------------------------------------------


def sheet(seed: int, data: Path | None, out: Path) -> Path:
    """A page of pictures: two rows of synthetic ones with their masks; with ``data`` two of real ones and what the
    starter model finds there. Real pictures are not the project's to give away: the page is for this computer."""
    from PIL import Image as Pillow

    world = World(size=SIDE)
    rows = [[world.picture(seed, k) for k in range(first, first + 4)] for first in (0, 4)]
    drawn = [[_drawn(item, item.instances, (255, 90, 60)) for item in row] for row in rows]
    name = "starter_synthetic"
    if data is not None:
        drawn += _real(data)
        name = "starter_beside_real"
    page = np.concatenate([np.concatenate(row, axis=1) for row in drawn])
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.jpg"
    Pillow.fromarray(page).save(path, quality=82)
    return path


def _real(data: Path) -> list[list[NDArray[np.uint8]]]:
    from organoseg.inference.api import load_model

    test = choose_test_set(data, data / "instances_val.json", data / "val")
    items = list(test.load())[:: max(len(test.names) // 8, 1)][:8]
    model = load_model(starter(), "cpu")
    drawn = []
    for item in items:
        found = model.predict(item.image)
        drawn.append(_drawn(item, found, (60, 220, 90)))
    return [drawn[:4], drawn[4:]]


def _drawn(
    item: LabelledImage, instances: Instances, colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    from PIL import Image as Pillow
    from PIL import ImageDraw

    from organoseg.core import normalised
    from organoseg.core.outlines import outlines

    grey = np.clip(150 + 90 * normalised(item.image.plane()), 0, 255).astype(np.uint8)
    scale = SIDE / max(grey.shape)
    picture = Pillow.fromarray(grey).convert("RGB").resize((SIDE, SIDE), Pillow.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for mask in instances.masks:
        for part in outlines(mask):
            line = [(float(x) * scale, float(y) * scale) for y, x in part.outer]
            pen.line([*line, line[0]], fill=colour, width=1)
    drawn: NDArray[np.uint8] = np.asarray(picture).copy()
    drawn[-3:] = drawn[:, -3:] = 255
    return drawn


# -- command -------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Do one of the five; 2 and 3 as the program's own exit codes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    actions = parser.add_subparsers(dest="action", required=True)
    packing = actions.add_parser("pack")
    packing.add_argument("model", type=Path)
    packing.add_argument("--home", type=Path, default=HOME)
    packing.add_argument("--thresholds", type=float, nargs=2, metavar=("PLAIN", "THOROUGH"))
    packing.add_argument("--chosen-on", default="M-OrgaQuant val", help="where these are from")
    telling = actions.add_parser("card")
    telling.add_argument("--results", type=Path, required=True, help="where `measure` wrote")
    telling.add_argument("--home", type=Path, default=HOME)
    measuring = actions.add_parser("measure")
    measuring.add_argument("--data", type=Path, required=True)
    measuring.add_argument("--split", choices=("val", "test"), required=True)
    measuring.add_argument("--model", type=Path, help="another model (default: the starter)")
    measuring.add_argument("--peer", type=parse_peer, action="append", default=[])
    measuring.add_argument("--bootstrap", type=int, default=1000)
    measuring.add_argument("--out", type=Path, required=True)
    measuring.add_argument("--table", type=Path, metavar="FILE.md")
    growing = actions.add_parser("curve")
    growing.add_argument("--data", type=Path, required=True)
    growing.add_argument("--worlds", type=lambda text: text.split(","), default=["plain", *WORLDS])
    growing.add_argument("--images", type=int, default=600)
    growing.add_argument("--steps", type=int, default=600)
    growing.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    growing.add_argument("--out", type=Path, required=True)
    growing.add_argument("--table", type=Path, metavar="FILE.md")
    drawing = actions.add_parser("sheet")
    drawing.add_argument("--data", type=Path)
    drawing.add_argument("--seed", type=int, default=7)
    drawing.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    try:
        if args.action == "pack":
            pack(args.model, args.home, args.thresholds and tuple(args.thresholds), args.chosen_on)
        elif args.action == "card":
            write_card(args.home, args.results)
        elif args.action == "measure":
            result = measure(args.data, args.split, args.model, args.peer, args.bootstrap)
            publish(f"starter_{args.split}", result, table(result), args.out, args.table)
        elif args.action == "curve":
            grown = curve(args.data, args.out, args.worlds, args.images, args.steps, args.overrides)
            publish("starter_curve", grown, curve_table(grown), args.out, args.table)
        else:
            print(sheet(args.seed, args.data, args.out))
    except OrganosegError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
