"""Three classes from five labelled organoids each: supervised, guided and class-agnostic training.

    python benchmarks/phenotypes.py --out runs/phenotypes

Synthetic organoids of three phenotypes (dense spheres, clear cysts, budding bodies) in images that are labelled whole,
chosen so that there are exactly ``--labels`` organoids of each; an archive without labels, and test images that nothing
is trained or chosen on.
Every method has as many steps for its network, where its name says nothing else; guided and class-agnostic runs have as
many again for their teacher.
A run that is cut goes on where it was when the same command is given again.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import markdown, number, origin, run_program
from organoseg.core import Instances, read_json, write_json
from organoseg.dataset import LabelledImage
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.io import write_instances

PHENOTYPES = {1: "sphere", 2: "cyst", 3: "bud"}
#: A guided step sees labels and archive, a class-agnostic one either: with twice the steps it sees as many crops.
METHODS = (
    "supervised",
    "supervised+steps=800",
    "guided",
    "class_agnostic",
    "class_agnostic+steps=800",
)
SPEC = SyntheticSpec(size=192, count=(1, 8), radius=(10.0, 28.0), kinds=(1.0, 1.0, 1.0))
#: Streams of images that share none.
LABELLED, ARCHIVE, TEST = 1, 2, 3


def images_of(stream: int, seed: int) -> Iterator[LabelledImage]:
    """Images without end; the class of an organoid is its phenotype."""
    names = {f"synthetic {name}": number for number, name in PHENOTYPES.items()}
    for index in range(10**6):
        item = make_image((stream, seed, index), SPEC, f"{stream}_{index:05d}.png")
        classes = np.array([names[source] for source in item.instances.sources], np.int32)
        yield LabelledImage(item.image, item.instances.replace(classes=classes))


def few(seed: int, labels: int) -> list[LabelledImage]:
    """Whole images with exactly so many organoids of each phenotype together: the first that fit."""
    left = dict.fromkeys(PHENOTYPES, labels)
    chosen = []
    for item in images_of(LABELLED, seed):
        counts = {c: int(np.count_nonzero(item.instances.classes == c)) for c in left}
        if len(item.instances) and all(counts[c] <= left[c] for c in left):
            chosen.append(item)
            left = {c: left[c] - counts[c] for c in left}
        if not any(left.values()):
            return chosen
    raise AssertionError("there is always an image with one organoid")


def make_world(folder: Path, seed: int, labels: int, archive: int, test: int) -> None:
    """`images/`, `labelled.json`, `test.json` and `archive/`; what is there already is left."""
    if (folder / "test.json").exists():
        return
    sets = {
        "labelled": few(seed, labels),
        "test": _first(images_of(TEST, 0), test),  # the same for all seeds
    }
    for item in _first(images_of(ARCHIVE, seed), archive):
        _save(item, folder / "archive")
    for name, items in sets.items():
        for item in items:
            _save(item, folder / "images")
        write_instances(folder / f"{name}.json", [(i.name, i.instances) for i in items], PHENOTYPES)


def _first(items: Iterator[LabelledImage], n: int) -> list[LabelledImage]:
    return [next(items) for _ in range(n)]


def _save(item: LabelledImage, folder: Path) -> None:
    from PIL import Image as Pillow

    folder.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(item.image.plane()).save(folder / item.name)


def recipe_tree(world: Path, method: str, seed: int, args: Namespace) -> dict[str, Any]:
    """One training as plain data; guided runs take the supervised one of their seed as teacher.

    A variant such as ``class_agnostic+predictor=copied`` takes the labeller of the plain method's run.
    """
    name, *words = method.split("+")
    tree: dict[str, Any] = {
        "seed": seed,
        "data": {
            "labelled": {
                "annotations": str(world / "labelled.json"),
                "images": str(world / "images"),
            }
        },
        "model": {"encoder_weights": args.encoder_weights},
        "method": {"name": name},
        "training": {
            "steps": args.steps, "batch": 4, "augmentation": {"crop": 128}, "device": "cpu",
            "threads": args.threads, "checkpoint_every": 200, "validate_every": 10**6,
        },
    }  # fmt: skip
    if name != "supervised":
        tree["data"]["unlabelled"] = str(world / "archive")
    if name == "guided":
        tree["method"]["teacher"] = str(args.out / "supervised" / f"seed-{seed}" / "model")
    if name == "class_agnostic" and not words:
        tree["method"]["save_labeller"] = True
    elif name == "class_agnostic":
        tree["method"]["teacher"] = str(args.out / name / f"seed-{seed}" / "labeller")
    for word in words:
        key, _, value = word.partition("=")
        part = "training" if key == "steps" else "method"
        tree[part][key] = yaml.safe_load(value)
    return tree


def measure_one(method: str, seed: int, args: Namespace) -> dict[str, Any]:
    """Train one run and look at the test images; figures that are there already are read."""
    import torch

    from organoseg.dataset import load_coco
    from organoseg.models.folder import load_module
    from organoseg.training.recipe import parse_recipe
    from organoseg.training.run import train
    from organoseg.training.validation import predict_dataset

    world, run = args.out / f"world-{seed}", args.out / method / f"seed-{seed}"
    known = run / "figures.json"
    found: dict[str, Any] = read_json(known) if known.exists() else {}
    if "told" in found:
        return found
    start = perf_counter()
    if not (run / "result.json").exists():
        recipe = parse_recipe(recipe_tree(world, method, seed, args))
        train(recipe, run, resume=(run / "recipe.yaml").exists())
    seconds = found.get("seconds", perf_counter() - start)
    module, _ = load_module(run / "model")
    test = load_coco(world / "test.json", world / "images")
    predicted, truth = predict_dataset(module, test, torch.device("cpu"))
    figures = {"method": method, "seed": seed, "seconds": seconds, **figures_of(predicted, truth)}
    write_json(known, figures)
    return figures


def figures_of(predicted: dict[str, Instances], truth: dict[str, Instances]) -> dict[str, float]:
    """Mask AP (.5 to .95) of all classes, of each, and of the same organoids without their classes; and how often the
    class is right of those that were found."""
    from organoseg.evaluation import average_precision

    def of(number: int, found: dict[str, Instances]) -> dict[str, Instances]:
        return {name: i.select(i.classes == number) for name, i in found.items()}

    def merged(found: dict[str, Instances]) -> dict[str, Instances]:
        """Without classes; an organoid that was reported as two phenotypes is one."""
        one = {n: i.replace(classes=np.ones(len(i), np.int32)) for n, i in found.items()}
        return {name: i.nms(0.6) for name, i in one.items()}

    plain = {n: i.replace(classes=np.ones(len(i), np.int32)) for n, i in truth.items()}
    found = {"AP": average_precision(predicted, truth)}
    for label, name in PHENOTYPES.items():
        found[name] = average_precision(of(label, predicted), of(label, truth))
    found["without"] = average_precision(merged(predicted), plain)
    found["told"] = told_apart(predicted, truth)
    return found


def told_apart(predicted: dict[str, Instances], truth: dict[str, Instances]) -> float:
    """Share of the organoids found (IoU .5) whose surest find has the right class; NaN where none was found."""
    right = []
    for name, drawn in truth.items():
        found = predicted[name]
        if not len(found):
            continue
        scores = np.where(drawn.iou(found) >= 0.5, found.scores, -1.0)
        best = scores.argmax(axis=1)
        right += list((found.classes[best] == drawn.classes)[scores.max(axis=1) >= 0])
    return float(np.mean(right)) if right else float("nan")


def measure(args: Namespace) -> dict[str, Any]:
    """Every method on every seed."""
    args.out = args.out.resolve()
    for seed in args.seeds:
        make_world(args.out / f"world-{seed}", seed, args.labels, args.archive, args.test)
    runs = [measure_one(method, seed, args) for method in args.methods for seed in args.seeds]
    images = [len(few(seed, args.labels)) for seed in args.seeds]
    return {"runs": runs, "labels": args.labels, "images": images, "archive": args.archive,
            "test": args.test, "steps": args.steps}  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """A row a method: mean over seeds, and lowest to highest AP."""
    rows = []
    for method in dict.fromkeys(run["method"] for run in result["runs"]):
        runs = [run for run in result["runs"] if run["method"] == method]
        every = [run["AP"] for run in runs]
        mean = {k: float(np.mean([r[k] for r in runs])) for k in runs[0] if k != "method"}
        spread = f"{number(mean['AP'])} ({number(min(every))} to {number(max(every))})"
        kinds = [number(mean[name]) for name in PHENOTYPES.values()]
        found = [number(mean["without"]), number(mean["told"])]
        rows.append([method, spread, *kinds, *found, f"{mean['seconds']:.0f}"])
    heads = ["method", "AP", *PHENOTYPES.values(), "AP without classes", "told apart", "seconds"]
    low, high = min(result["images"]), max(result["images"])
    facts = (
        f"- {result['labels']} labelled organoids of each phenotype in {low} to {high} images, "
        f"{result['archive']} images without labels, {result['test']} test images; {result['steps']} steps; "
        f"{len({r['seed'] for r in result['runs']})} seeds. Guided runs take the supervised model of their seed "
        "as teacher, variants the labeller of the method without them; those seconds are not counted again. Told "
        "apart: of the organoids found at IoU .5, those whose surest find has the right class."
    )
    return "\n".join([markdown(heads, rows), "", facts, *origin(result)])


def main(arguments: Sequence[str]) -> int:
    """The program."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add(
        "--methods",
        type=lambda text: text.split(","),
        default=list(METHODS),
        help="each after the one whose teacher it takes; class_agnostic+predictor=copied: a variant",
    )
    add("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0, 1, 2])
    add("--steps", type=int, default=400)
    add("--labels", type=int, default=5, help="labelled organoids of each phenotype")
    add("--archive", type=int, default=150, help="images without labels")
    add("--test", type=int, default=60, help="test images")
    add("--threads", type=int, default=1)
    add("--encoder-weights", default="mobilenet_v2_imagenet")
    return run_program("phenotypes", arguments, parser, measure, table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
