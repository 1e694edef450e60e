"""Time to segment an image, beside OrganoID, both in one run on the same images.

    python benchmarks/speed.py --data ../shared/data/m_orgaquant --model runs/model \
        --peer ../shared/peers/organoid --out runs/speed --table docs/benchmarks.md

Ours: normalise, network, decode, mask NMS, as `organoseg predict` does; theirs: resize, network, parting
(organoid_peer.py). Reading and writing files is in neither. The two take turns image by image.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import markdown, number, origin, run_program
from benchmarks.testset import TestSet, choose_test_set
from organoseg.core import DataError, Image, Instances

SHAPE = (450, 450)
WARM_UP = 3


@dataclass
class Clock:
    """Milliseconds of each image, by step."""

    steps: dict[str, list[float]] = field(default_factory=dict)

    def time(self, step: str, work: Callable[[], Any]) -> Any:
        """Do the work and note how long it took."""
        start = perf_counter()
        result = work()
        self.steps.setdefault(step, []).append((perf_counter() - start) * 1e3)
        return result

    def totals(self) -> np.ndarray[Any, Any]:
        """Milliseconds of all steps together, float64, one an image."""
        total: np.ndarray[Any, Any] = np.sum(list(self.steps.values()), axis=0)
        return total

    def medians(self) -> dict[str, float]:
        """Median of each step, and of their sum an image."""
        each = {step: float(np.median(values)) for step, values in self.steps.items()}
        return {**each, "all": float(np.median(self.totals()))}


class Program(Protocol):
    """Segments an image and notes how long its steps took."""

    def __call__(self, image: Image, clock: Clock) -> Instances: ...


class Ours:
    """A model folder, or a fresh network where there is none."""

    def __init__(self, folder: Path | None) -> None:
        import torch

        from organoseg.inference.api import load_model
        from organoseg.models.precision import computes_bf16
        from organoseg.models.registry import build_engine

        self.module: Any
        self.bf16 = computes_bf16(torch.device("cpu"))
        if folder is None:
            self.module, self.threshold = build_engine("compact", (1,), {}, None).eval(), 0.3
            self.name = "untrained: it finds nothing, which is quick"
        else:
            model = load_model(folder, "cpu")
            self.module, self.threshold = model.module, model.description.score_threshold
            self.name = f"{model.description.identity}, score from {self.threshold:.2f}"

    def __call__(self, image: Image, clock: Clock) -> Instances:
        """Segment an image; the network's share of the time is taken at its own door."""
        import torch

        from organoseg.inference.image import segment_image

        entered, inside = 0.0, 0.0

        def enter(*_: Any) -> None:
            nonlocal entered
            entered = perf_counter()

        def leave(*_: Any) -> None:
            nonlocal inside
            inside += (perf_counter() - entered) * 1e3

        network = self.module.network
        hooks = (network.register_forward_pre_hook(enter), network.register_forward_hook(leave))
        start = perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):  # as `predict` does
            found = segment_image(self.module, image, self.threshold, torch.device("cpu"))
        whole = (perf_counter() - start) * 1e3
        for hook in hooks:
            hook.remove()
        clock.steps.setdefault("network", []).append(inside)
        clock.steps.setdefault("the rest", []).append(whole - inside)
        return found


class Theirs:
    """OrganoID; `whole` parts its organoids on the whole image and not patch by patch."""

    def __init__(self, network: Path, threads: int, whole: bool = False) -> None:
        from benchmarks.organoid_peer import OrganoID, part, part_whole

        self.network = OrganoID(network, threads)
        self.part = part_whole if whole else part

    def __call__(self, image: Image, clock: Clock) -> Instances:
        """Segment an image."""
        from benchmarks.organoid_peer import to_instances

        pixels = image.plane()
        belief = clock.time("network", lambda: self.network.belief(pixels))
        return clock.time(
            "the rest",
            lambda: to_instances(self.part(belief), belief, (image.shape[0], image.shape[1])),
        )


def time_all(
    images: Sequence[Image], programs: Mapping[str, Program], rounds: int
) -> tuple[dict[str, Clock], dict[str, float]]:
    """Every program on all images, round by round, taking turns at who goes first; organoids found an image.

    A program keeps its turn for the whole set, as it does with a user's folder: right after the other one, its
    first images would meet the other's threads, which spin for a while before they sleep, and a cold cache.
    """
    clocks = {name: Clock() for name in programs}
    found: dict[str, list[int]] = {name: [] for name in programs}
    names = list(programs)
    for _ in range(rounds):
        for name in names:
            for image in images[:WARM_UP]:
                programs[name](image, Clock())
            found[name] += [len(programs[name](image, clocks[name])) for image in images]
        names = names[1:] + names[:1]
    return clocks, {name: float(np.mean(counts)) for name, counts in found.items()}


def likeness(theirs: Theirs, test: TestSet, stored: Path) -> dict[str, Any]:
    """How near our parting comes to what the published program made of the same images."""
    from organoseg.evaluation import evaluate
    from organoseg.io.coco_json import parse_results

    labels = test.labels()
    kept = parse_results(stored, test.annotations)
    kept = {name: kept[name] for name in labels.instances}
    made = {item.image.name: theirs(item.image, Clock()) for item in test.load()}
    best = np.concatenate([_best_iou(kept[name], made[name]) for name in kept])
    figures = {
        which: evaluate(found, labels.instances, bootstrap=0, first_id=labels.first_id).ap
        for which, found in (("AP_published", kept), ("AP_written_anew", made))
    }
    return {
        **figures,
        "organoids_published": sum(map(len, kept.values())),
        "organoids_written_anew": sum(map(len, made.values())),
        "mean_best_iou": float(best.mean()),
        "share_over_iou_09": float((best > 0.9).mean()),
    }


def _best_iou(wanted: Instances, found: Instances) -> np.ndarray[Any, Any]:
    """For each of `wanted`, its IoU with the nearest of `found`; float64 (N,)."""
    if not len(found):
        return np.zeros(len(wanted))
    best: np.ndarray[Any, Any] = wanted.iou(found).max(axis=1, initial=0.0)
    return best


def speed_table(result: dict[str, Any]) -> str:
    """The block of docs/benchmarks.md."""
    titles = {
        "ours": f"organoseg, `compact` ({result['model']})",
        "theirs": "OrganoID, parted patch by patch",
        "theirs_whole": "OrganoID, parted on the whole image",
    }
    rows = [
        [
            title,
            *(f"{result['medians'][name][step]:.0f}" for step in ("network", "the rest", "all")),
            f"{result['organoids'][name]:.1f}",
        ]
        for name, title in titles.items()
    ]
    head = ("", "network, ms", "the rest, ms", "all, ms", "organoids an image")
    return "\n".join([markdown(head, rows), "", *_foot(result)])


def _foot(result: dict[str, Any]) -> list[str]:
    like = result["likeness"]
    return [
        f"organoseg is **{result['ratio']['theirs']:.1f} times** as fast as OrganoID parted patch by patch and "
        f"**{result['ratio']['theirs_whole']:.1f} times** as fast as parted on the whole image (medians of the "
        "ratio, image by image).",
        "",
        f"- Medians over {result['images']} images of 450x450, {result['rounds']} rounds, taking turns in one "
        f"process, {result['threads']} threads; reading and writing files is not in it.",
        "- OrganoID: its published TFLite network; its parting of touching organoids is written anew "
        f"(`benchmarks/organoid_peer.py`). AP on the {like['test_images']} test images: "
        f"{number(like['AP_published'])} with the masks of the published program, "
        f"{number(like['AP_written_anew'])} with ours; {like['organoids_published']} and "
        f"{like['organoids_written_anew']} organoids; mean IoU of a published mask with the nearest one of ours "
        f"{number(like['mean_best_iou'])}.",
        *origin(result),
    ]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with test/ and instances_test.json")
    add("--model", type=Path, help="model folder (default: an untrained network)")
    add("--peer", type=Path, required=True, help="folder with organoid.tflite, organoid_test.json")
    add("--images", type=int, default=30, help="how many images")
    add("--rounds", type=int, default=3)
    add("--threads", type=int, default=2)
    return parser


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures. DataError when no image has the right size."""
    import torch

    torch.set_num_threads(args.threads)
    test = choose_test_set(args.data.resolve())
    images = [i.image for i in test.load() if i.image.shape == SHAPE][: args.images]
    if not images:
        raise DataError("no test image is 450x450", where=args.data)
    network = args.peer / "organoid.tflite"
    ours = Ours(args.model)
    theirs, whole = (Theirs(network, args.threads, whole) for whole in (False, True))
    like = likeness(theirs, test, args.peer / "organoid_test.json")
    programs: dict[str, Program] = {"ours": ours, "theirs": theirs, "theirs_whole": whole}
    clocks, counts = time_all(images, programs, args.rounds)
    base = clocks["ours"].totals()
    return {
        "model": ours.name,
        "images": len(images),
        "rounds": args.rounds,
        "threads": args.threads,
        "medians": {name: clock.medians() for name, clock in clocks.items()},
        "ratio": {
            name: float(np.median(clocks[name].totals() / base))
            for name in ("theirs", "theirs_whole")
        },
        "organoids": counts,
        "likeness": {**like, "test_images": len(test.names)},
    }


def main(arguments: Sequence[str]) -> int:
    """The program."""
    return run_program("speed", arguments, make_parser(), measure, speed_table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
