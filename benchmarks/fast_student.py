"""Teacher and fast student side by side on a processor: AP, time, size, and what each loss of the student is worth.

    python benchmarks/fast_student.py --data ../shared/data/m_orgaquant --teacher runs/few_label/.../model \
        --out runs/fast_student --table docs/benchmarks.md

Students of one width and one number of steps: from labels alone, with the zero-order loss, with the first-order one
as well, with the archive's pseudo-labels as well, and with these but without both losses. Each is exported to ONNX,
in full and in 8 bits. A training that was cut goes on; what is measured is kept beside each run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import markdown, number, origin, run_program
from benchmarks.testset import SPLITS, TestSet, choose_test_set
from organoseg.core import DataError, Image, Instances, UsageError, read_json, write_json

#: The rows: their names, and what their method says beside the name. No name: labels alone.
ROWS: dict[str, dict[str, Any] | None] = {
    "labels": None,
    "L_p": {"zero_order": 1.0, "first_order": 0.0},
    "L_p + L_c": {"zero_order": 1.0, "first_order": 5.0},
    "archive": {"zero_order": 0.0, "first_order": 0.0, "archive": True},
    "L_p + L_c + archive": {"zero_order": 1.0, "first_order": 5.0, "archive": True},
}
THOROUGH = (0.9, 1.15, 1.4, 1.7)
FIGURES = ("AP", "AP50", "AP75")
#: Images of the archive that 8-bit ranges are taken from.
CALIBRATION = 32
LOWEST = 0.05
HEADERS = ("model", "seeds", "parameters", *FIGURES, "AP, 8 bits")
#: Images that times are taken on: of a thorough look each takes half a second.
TIMED = 20


@dataclass(frozen=True)
class Bench:
    """What was asked for."""

    args: argparse.Namespace
    test: TestSet

    def folder(self, row: str, seed: int) -> Path:
        """Where the run of a row and a seed lies."""
        name = row.replace(" + ", "+").replace("_", "").lower()
        found: Path = self.args.out / "runs" / name / f"seed-{seed}"
        return found.resolve()

    def recipe(self, row: str, seed: int) -> dict[str, Any]:
        """The recipe of a row and a seed, as plain data."""
        a, data = self.args, self.args.data.resolve()
        method = ROWS[row]
        tree: dict[str, Any] = {
            "seed": seed,
            "data": {
                "labelled": {
                    "annotations": str(data / "instances_val.json"),
                    "images": str(data / "val"),
                    "split": f"{data / SPLITS}#labelled_{a.labelled}",
                }
            },
            "model": {"options": {"width": a.width}},
            "training": {
                "steps": a.steps, "threads": a.threads, "device": "cpu", "workers": 0,
                "checkpoint_every": 50,
            },
        }  # fmt: skip
        if a.encoder_weights:
            tree["model"]["encoder_weights"] = str(a.encoder_weights.resolve())
        if method is not None:
            wanted = dict(method)
            if wanted.pop("archive", False):
                tree["data"]["unlabelled"] = str((a.archive or data / "train").resolve())
            zooms = list(THOROUGH) if a.thorough_teacher else [1.0]
            tree["method"] = {"name": "fast_student", "teacher": str(a.teacher.resolve())}
            tree["method"] |= {"teacher_zooms": zooms, **wanted}
        return tree


def trained(bench: Bench, row: str, seed: int) -> Path:
    """The model folder of a row and a seed, trained where it is not."""
    from organoseg.training.checkpoint import listed
    from organoseg.training.recipe import load_recipe, parse_recipe
    from organoseg.training.run import train

    out = bench.folder(row, seed)
    if not (out / "result.json").is_file():
        started = bool(listed(out / "checkpoints"))
        chosen = parse_recipe(bench.recipe(row, seed))
        if started:
            chosen = load_recipe(out / "recipe.yaml")
        train(chosen, out, resume=started)
    return out / "model"


def _exported(model: Path, out: Path, calibration: Sequence[Image]) -> dict[str, Path]:
    """The two ONNX files of a model, made where they are not."""
    from organoseg.core import normalised
    from organoseg.models.export.onnx_write import write_int8, write_onnx

    full, small = out / "full.onnx", out / "int8.onnx"
    if not full.is_file():
        write_onnx(model, full)
    if not small.is_file():
        write_int8(model, small, [normalised(i.plane(), i.name) for i in calibration])
    return {"ONNX": full, "8 bits": small}


def _figures(
    found: dict[str, Instances], truth: dict[str, Instances], first_id: int
) -> dict[str, float]:
    from organoseg.evaluation import evaluate

    tree = evaluate(found, truth, bootstrap=0, first_id=first_id).to_dict()
    return {name: float(tree[name]) for name in FIGURES}


def by_turns(looks: dict[str, Callable[[Image], Any]], images: Sequence[Image]) -> dict[str, float]:
    """Milliseconds an image, medians. Each image is shown to all before the next: all meet the same machine."""
    each: dict[str, list[float]] = {name: [] for name in looks}
    for number_of, image in enumerate([images[0], *images]):
        for name, look in looks.items():
            start = perf_counter()
            look(image)
            if number_of:  # the first one warms up
                each[name].append((perf_counter() - start) * 1e3)
    return {name: median(times) for name, times in each.items()}


def times(
    bench: Bench, student: Path, home: Path, calibration: Sequence[Image]
) -> dict[str, float]:
    """What a look takes: teacher and student side by side, the student also as its two ONNX files."""
    from organoseg.inference.api import load_model

    files = _exported(student, home, calibration)
    ready = {}
    if bench.args.teacher_too:
        ready["teacher"] = load_model(bench.args.teacher, "cpu", "fp32")
        ready["teacher, thorough"] = load_model(bench.args.teacher, "cpu", "fp32", thorough=True)
    ready["student"] = load_model(student, "cpu", "fp32")
    ready |= {f"student, {name}": load_model(file) for name, file in files.items()}
    threshold = ready["student"].description.score_threshold
    looks = {name: lambda i, m=one: m.predict(i, threshold) for name, one in ready.items()}
    images = [item.image for item in bench.test.load()]
    return by_turns(looks, images[:: max(len(images) // TIMED, 1)][:TIMED])


def measured(
    bench: Bench, path: Path, model: Path, calibration: Sequence[Image] | None, thorough: bool
) -> dict[str, Any]:
    """Figures and size of a model, and of its ONNX files where it is to be exported; read back if known."""
    from organoseg.inference.api import load_model

    kept = path / f"student-{bench.test.key}{'-thorough' if thorough else ''}.json"
    if kept.is_file():
        known: dict[str, Any] = read_json(kept)
        return known
    dataset, first_id = bench.test.load(), bench.test.labels().first_id
    images = [item.image for item in dataset]
    truth = {item.image.name: item.instances for item in dataset}
    ready = {"torch": load_model(model, "cpu", "fp32", thorough)}
    if calibration is not None:
        files = _exported(model, path, calibration)
        ready |= {name: load_model(file) for name, file in files.items()}
    result: dict[str, Any] = {
        "parameters": sum(p.numel() for p in ready["torch"].module.parameters()),
        "bytes": {n: f.stat().st_size for n, f in files.items()} if calibration is not None else {},
    }
    answers = {}
    for name, one in ready.items():
        answers[name] = {i.name: one.predict(i, LOWEST) for i in images}
        result[name] = _figures(answers[name], truth, first_id)
    if calibration is not None:
        result["difference"] = difference(answers["torch"], answers["ONNX"])
    path.mkdir(parents=True, exist_ok=True)
    write_json(kept, result)
    return result


def difference(one: dict[str, Instances], other: dict[str, Instances]) -> dict[str, float]:
    """How far two sets of answers are apart: organoids that only one has, largest distance of scores, least IoU."""
    single, score, iou = 0, 0.0, 1.0
    for name, mine in one.items():
        theirs = other[name]
        single += abs(len(mine) - len(theirs))
        if not len(mine) or not len(theirs):
            continue
        table = mine.iou(theirs)
        apart = np.abs(mine.scores[:, None] - theirs.scores)
        # Of two answers with one mask, each is the partner of the one with its score.
        apart[table < table.max(1, keepdims=True) - 1e-6] = np.inf
        score = max(score, float(apart.min(1).max()))
        iou = min(iou, float(table.max(1).min()))
    return {"unpaired": single, "score": score, "iou": iou}


def measure_all(args: argparse.Namespace) -> dict[str, Any]:
    """Train what is missing and measure everything."""
    import torch

    from organoseg.io import find_images, read_image

    unknown = [row for row in args.rows if row not in ROWS]
    if unknown:
        raise UsageError(f"no such row: {unknown[0]}", remedy=f"Choose of: {', '.join(ROWS)}.")
    torch.set_num_threads(args.threads)
    data = args.data.resolve()
    split = None if args.split == "test" else args.split
    words = () if split else args.words
    bench = Bench(args, choose_test_set(data, split=split, words=words))
    files = find_images([args.archive or data / "train"])
    if not files:
        raise DataError("no image to calibrate with", where=data / "train")
    count = min(CALIBRATION, len(files))
    calibration = [read_image(files[i * len(files) // count]) for i in range(count)]
    teacher: dict[str, Any] = {}
    for look in ("one look", "thorough look") if args.teacher_too else ():
        thorough = look != "one look"
        teacher[look] = measured(bench, args.out / "teacher", args.teacher, None, thorough)
    students: dict[str, list[dict[str, Any]]] = {}
    for row in args.rows:
        for seed in args.seeds:
            model = trained(bench, row, seed)
            found = measured(bench, bench.folder(row, seed), model, calibration, thorough=False)
            students.setdefault(row, []).append(found)
    last = bench.folder(args.rows[-1], args.seeds[0])
    return {
        "teacher": teacher,
        "students": students,
        "times": times(bench, last / "model", last, calibration),
        "images": len(bench.test.names),
        "settings": {
            k: getattr(args, k)
            for k in ("labelled", "steps", "width", "threads", "split", "thorough_teacher")
        },
    }


def _row(name: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    def average(part: str, key: str) -> float:
        return mean(run[part][key] for run in runs)

    exported = "ONNX" in runs[0]
    return [
        name,
        str(len(runs)),
        f"{runs[0]['parameters'] / 1e6:.2f} M",
        *(number(average("torch", key)) for key in FIGURES),
        number(average("8 bits", "AP")) if exported else "-",
    ]


def _time_table(found: dict[str, float]) -> str:
    """A row a program: milliseconds, and how often faster than the teacher's one look."""
    first = found.get("teacher")
    rows = [[n, f"{ms:.0f}", f"{first / ms:.1f}x" if first else "-"] for n, ms in found.items()]
    return markdown(["one look", "ms an image", "as fast as the teacher"], rows)


def student_table(result: dict[str, Any]) -> str:
    """The block of docs/benchmarks.md."""
    rows = [_row(f"teacher, {look}", [runs]) for look, runs in result["teacher"].items()]
    rows += [_row(f"student, {name}", runs) for name, runs in result["students"].items()]
    s = result["settings"]
    looks = "thorough looks" if s["thorough_teacher"] else "one look"
    every = [run for runs in result["students"].values() for run in runs]
    lines = [
        markdown(HEADERS, rows),
        "",
        _time_table(result["times"]),
        "",
        f"- {result['images']} images of `{s['split']}`; students of width {s['width']} from {s['labelled']} labels, "
        f"{s['steps']} steps, the teacher's {looks}.",
        f"- Times: medians of {TIMED} images by turns, {s['threads']} threads, network and decoding, at the score "
        "that the model reports from.",
    ]
    if every:
        apart = [run["difference"] for run in every]
        sizes = every[0]["bytes"]
        lines.append(
            f"- ONNX against torch, all answers from a score of {LOWEST}: scores at most "
            f"{max(d['score'] for d in apart):.1e} apart, IoU of a pair at least {min(d['iou'] for d in apart):.4f}, "
            f"{sum(d['unpaired'] for d in apart):.0f} without a pair. Files: {sizes['ONNX'] / 1e6:.1f} MB, "
            f"8 bits {sizes['8 bits'] / 1e6:.1f} MB."
        )
    return "\n".join([*lines, *origin(result)])


def main(arguments: Sequence[str]) -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="M-OrgaQuant")
    parser.add_argument("--teacher", type=Path, required=True, help="a model folder")
    parser.add_argument("--archive", type=Path, help="unlabelled images (default: DATA/train)")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--labelled", type=int, default=15)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--encoder-weights", type=Path)
    parser.add_argument(
        "--split", default="validation", help="names of few_label_splits.json, or test"
    )
    parser.add_argument("--words", nargs="*", default=(), help="of a test: names with one of these")
    parser.add_argument("--thorough-teacher", action="store_true", help="four looks in training")
    parser.add_argument("--no-teacher", dest="teacher_too", action="store_false")
    return run_program("fast_student", arguments, parser, measure_all, student_table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
