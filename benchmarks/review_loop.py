"""What a reviewer's time buys: AP on held-out images against organoids reviewed, ranked queue beside random order.

    python benchmarks/review_loop.py --data ../shared/data/m_orgaquant --out runs/review_loop --table docs/benchmarks.md

A model learns from 5 images of M-OrgaQuant. In each round it segments the 55 others that have labels; an oracle who
knows those labels reviews them in the order of the queue (accepts, outlines anew, rejects, draws what was missed)
until it has looked at --budget organoids; the review is exported as a user would, and a model is trained anew on all
that is known by then. Orders: `ranked` (the default queue), `covering` (the same without regard to doubt), `doubtful`,
`random`. The random share of the queues is kept, as a user has it. What is there is not done again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import markdown, number, origin, run_program
from organoseg.core import Instances, read_json, write_json
from organoseg.dataset import LabelledDataset, few_label_split, load_coco
from organoseg.io import write_instances
from organoseg.review import ReviewSession, create_project, export_project
from organoseg.review.queue import Order, Weights

SPLITS, LABELS, FIRST, POOL = (
    "few_label_splits.json",
    "instances_val.json",
    "labelled_5",
    "labelled_60",
)
RIGHT, SAME = 0.85, 0.5
#: Order of the queue and what it goes by.
ORDERS: dict[str, tuple[Order, Weights]] = {
    "ranked": ("ranked", Weights()),
    "covering": ("ranked", Weights(0.0, 0.0, 0.0)),
    "doubtful": ("doubtful", Weights()),
    "random": ("random", Weights()),
}


@dataclass
class Work:
    """What the oracle did: organoids looked at, by answer, and images opened."""

    accepted: int = 0
    outlined: int = 0
    rejected: int = 0
    drawn: int = 0
    images: int = 0

    @property
    def seen(self) -> int:
        """Decisions."""
        return self.accepted + self.corrected

    @property
    def corrected(self) -> int:
        """Organoids that needed a hand."""
        return self.outlined + self.rejected + self.drawn


def answer(session: ReviewSession, truth: Instances, work: Work, budget: int) -> None:
    """Review the present image from its true organoids, until the budget is spent."""
    work.images += 1
    found = session.state().instances("unseen")
    pairs = match(found, truth)
    for organoid in session.project.turn(session.place.image).organoids:
        if work.seen >= budget:
            return
        session.go(session.place.image, organoid)
        if organoid not in pairs:
            session.reject()
            work.rejected += 1
        elif pairs[organoid][1] >= RIGHT:
            session.accept()
            work.accepted += 1
        else:
            session.replace(truth.masks[pairs[organoid][0]])
            work.outlined += 1
    met = {index for index, _ in pairs.values()}
    for index, mask in enumerate(truth.masks):
        if index not in met:
            if work.seen >= budget:
                return
            session.draw(mask)
            work.drawn += 1
    session.complete()


def match(found: Instances, truth: Instances) -> dict[int, tuple[int, float]]:
    """For each found organoid that is one: index of the true one and their IoU."""
    from scipy.optimize import linear_sum_assignment

    iou = found.iou(truth)
    rows, columns = linear_sum_assignment(np.where(iou >= SAME, iou, 0), maximize=True)
    return {
        int(found.ids[r]): (int(c), float(iou[r, c]))
        for r, c in zip(rows, columns, strict=True)
        if iou[r, c] >= SAME
    }


class Bench:
    """One call of the program."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.data = args, args.data.resolve()
        names = few_label_split(self.data / SPLITS, FIRST)
        pool = [n for n in few_label_split(self.data / SPLITS, POOL) if n not in names]
        self.first = self._load(names)
        self.pool = self._load(pool[: args.pool])
        self.side = "test" if args.test else "validation"
        if args.test:
            self.held_out = load_coco(self.data / "instances_test.json", self.data / "test")
        else:
            self.held_out = self._load(few_label_split(self.data / SPLITS, "validation"))

    def _load(self, names: list[str]) -> LabelledDataset:
        return load_coco(self.data / LABELS, self.data / "val", names)

    def run(self) -> list[dict[str, Any]]:
        """Every seed, order and round; the first model of a seed is shared by the orders."""
        rows = []
        for seed in self.args.seeds:
            start = self.args.out / f"seed-{seed}" / "start"
            self._labels(start / "data", self.first)
            first = self._train(start, start / "data", seed)
            rows.append(
                {"seed": seed, "order": "start", "round": 0, "seen": 0, "corrected": 0, "ap": first}
            )
            for order in self.args.orders:
                rows += self._order(seed, order, start)
        return rows

    def _labels(self, folder: Path, dataset: LabelledDataset) -> None:
        """The labels that exist before any review, as a data set made by hand."""
        if (folder / "labels.json").exists():
            return
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for item in dataset:
            shutil.copyfile(self.data / "val" / item.name, folder / "images" / item.name)
        write_instances(folder / "labels.json", [(i.name, i.instances) for i in dataset])

    def _order(self, seed: int, order: str, start: Path) -> list[dict[str, Any]]:
        rows, model, total = [], start, Work()
        folder = self.args.out / f"seed-{seed}" / order
        for round_ in range(1, self.args.rounds + 1):
            here = folder / f"round-{round_}"
            if not (here / "work.json").exists():
                before = folder / f"round-{round_ - 1}" / "data"
                work = self._round(
                    here, before if round_ > 1 else start / "data", model, order, seed, round_
                )
                write_json(here / "work.json", asdict(work))
            ap = self._train(here, here / "data", seed)
            for name, count in read_json(here / "work.json").items():
                setattr(total, name, getattr(total, name) + count)
            rows.append(
                {
                    "seed": seed,
                    "order": order,
                    "round": round_,
                    "seen": total.seen,
                    "corrected": total.corrected,
                    "ap": ap,
                    **asdict(total),
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
            model = here
        return rows

    def _round(
        self, here: Path, data: Path, model: Path, order: str, seed: int, round_: int
    ) -> Work:
        """Segment what is left, review it, export: the new data set lies in here/data."""
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir(parents=True)
        shutil.copytree(data, here / "data")
        # An image reviewed in part is the business of the round that began it: here it is done.
        known = set(load_coco(data / "labels.json", data / "images").names)
        left = [item for item in self.pool if item.name not in known]
        for part in ("model", "student"):
            self._segment(model / "training" / part, left, here / f"{part}.json")
        project = create_project(
            here / "project",
            [self.data / "val" / item.name for item in left],
            predictions=here / "model.json",
            second=here / "student.json",
            order=ORDERS[order][0],
            weights=ORDERS[order][1],
            random_share=self.args.random_share,
            seed=seed * 100 + round_,
        )
        work, truth = Work(), {item.name: item.instances for item in left}
        with ReviewSession.open(project, "oracle") as session:
            for picture in project.pictures:
                if work.seen < self.args.budget:
                    session.go(picture.key)
                    answer(session, truth[picture.name], work, self.args.budget)
        report = export_project(project.folder, here / "data", validation=0.0)
        for name, why in report.refused:
            print(f"not exported: {name}: {why}", file=sys.stderr)
        return work

    def _segment(self, model: Path, items: list[Any], path: Path) -> None:
        from organoseg.inference.api import load_model

        ready = load_model(model, self.args.device)
        pairs = [(item.name, ready.segment(item.image)) for item in items]
        write_instances(path, pairs, ready.description.classes)

    def _train(self, folder: Path, data: Path, seed: int) -> float:
        """Train on a data set, unless that is done, and return the AP on the held-out images."""
        from organoseg.evaluation import average_precision
        from organoseg.inference.api import choose_device
        from organoseg.models.folder import load_module
        from organoseg.training.run import train
        from organoseg.training.validation import predict_dataset

        out, known = folder / "training", folder / f"ap-{self.side}.json"
        if known.exists():
            return float(read_json(known)["AP"])
        if not (out / "result.json").exists():
            shutil.rmtree(out, ignore_errors=True)
            tree: dict[str, Any] = {
                "seed": seed,
                "data": {
                    "labelled": {
                        "annotations": str((data / "labels.json").resolve()),
                        "images": str((data / "images").resolve()),
                    }
                },
                "model": {"encoder_weights": self.args.encoder_weights},
                "method": {"name": "supervised"},
                "training": {"steps": self.args.steps, "device": self.args.device},
            }
            (folder / "recipe.yaml").write_text(yaml.safe_dump(tree))
            train(folder / "recipe.yaml", out)
        device = choose_device(self.args.device)
        module, _ = load_module(out / "model")
        ap = average_precision(*predict_dataset(module.to(device), self.held_out, device))
        write_json(known, {"AP": ap})
        return ap


def table_of(result: dict[str, Any]) -> str:
    """Markdown: one row an order and round, means over seeds."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in result["rows"]:
        groups[row["order"], row["round"]].append(row)
    rows = []
    for (order, round_), found in groups.items():
        aps = [r["ap"] for r in found]
        spread = f" ({number(min(aps))} to {number(max(aps))})" if len(aps) > 1 else ""
        means = [
            f"{np.mean([r.get(k, 0) for r in found]):.0f}" for k in ("images", "seen", "corrected")
        ]
        rows.append([order, str(round_), *means, number(float(np.mean(aps))) + spread])
    heads = ["order", "round", "images opened", "organoids seen", "corrected", "AP held out"]
    return "\n".join([markdown(heads, rows), "", *gains(result["rows"]), *origin(result)])


def gains(rows: list[dict[str, Any]]) -> list[str]:
    """Differences between each order and random order, seed by seed, so that the seeds' own luck cancels."""
    ap = {(r["seed"], r["order"], r["round"]): r["ap"] for r in rows}
    lines = []
    for order in dict.fromkeys(r["order"] for r in rows if r["order"] not in ("start", "random")):
        pairs = [
            (v, ap[s, "random", n])
            for (s, o, n), v in ap.items()
            if o == order and (s, "random", n) in ap
        ]
        if pairs:
            change = np.array([a - b for a, b in pairs])
            better = int((change > 0).sum())
            lines.append(
                f"- {order} minus random: {change.mean():+.3f} AP, better in {better} of {len(change)} pairs"
            )
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Run it all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of M-OrgaQuant")
    add(
        "--orders",
        type=lambda t: t.split(","),
        default=["ranked", "random"],
        help=", ".join(ORDERS),
    )
    add("--seeds", type=lambda t: [int(n) for n in t.split(",")], default=[0, 1, 2])
    add("--rounds", type=int, default=3)
    add("--budget", type=int, default=80, help="organoids the oracle looks at in a round")
    add("--random-share", type=float, default=0.2)
    add("--steps", type=int, default=600)
    add("--pool", type=int, help="images to review from (default: all 55)")
    add(
        "--test",
        action="store_true",
        help="hold out the test images, for the final figure, not validation",
    )
    add("--encoder-weights", default="mobilenet_v2_imagenet")
    add("--device", default="auto")

    def measure(args: argparse.Namespace) -> dict[str, Any]:
        unknown = set(args.orders) - set(ORDERS)
        if unknown:
            parser.error(f"no such order: {', '.join(sorted(unknown))}")
        return {"rows": Bench(args).run()}

    given = list(sys.argv[1:] if arguments is None else arguments)
    kind = "_test" if "--test" in given else ""
    return run_program("review_loop", given, parser, measure, table_of, kind)


if __name__ == "__main__":
    sys.exit(main())
