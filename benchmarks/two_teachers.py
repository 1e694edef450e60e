"""What the agreement of two teachers is worth: their pseudo-labels of labelled images, against what people drew.

    python benchmarks/two_teachers.py --data ../shared/data/m_orgaquant --split validation \
        --models runs/a/model runs/b/model runs/c/model

Each model's words count once the next one was asked too, under every rule of `distill.agreement`, with the organoid
filter. `expected` is the sum of certainties, `certainty that is right` its share on what people drew too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from organoseg.core import Instances, OrganosegError, normalised
from organoseg.dataset import LabelledDataset, few_label_split, load_coco
from organoseg.distill.agreement import AgreementFilter, Rule, opinions
from organoseg.distill.pseudo_labels import OrganoidFilter
from organoseg.evaluation import average_precision
from organoseg.models.ensemble import LOWEST, ZOOMS, Thorough
from organoseg.models.folder import load_module

RULES: tuple[Rule, ...] = ("off", "keep", "weight")
HEADERS = (
    "rule", "taught", "expected", "right", "certainty that is right", "of what was drawn", "ignored / background", "AP",
)  # fmt: skip
RIGHT = 0.5  # mask IoU from which a pseudo-label shows what a person drew


@dataclass
class Tally:
    """Sums over images: certainty of each pseudo-label and whether it is right, and the fate of what people drew."""

    certainty: list[float]
    right: list[bool]
    drawn: int = 0
    ignored: int = 0
    background: int = 0


def see(folder: Path, items: LabelledDataset, zooms: tuple[float, ...]) -> list[Instances]:
    """What a model sees in each image, as a teacher looks at a pool."""
    looks = Thorough(load_module(folder)[0], zooms)  # type: ignore[arg-type]
    planes = (torch.from_numpy(normalised(item.image.plane()))[None, None] for item in items)
    return [looks.segment(plane, LOWEST)[0] for plane in planes]


def matched(taught: Instances, truth: Instances) -> np.ndarray:
    """For each pseudo-label, best first, the number of the organoid it shows, or -1; each organoid once."""
    iou, free = taught.iou(truth), np.ones(len(truth), bool)
    found = np.full(len(taught), -1)
    for i in np.argsort(-taught.scores, kind="stable"):
        row = np.where(free, iou[i], 0.0)
        if len(row) and row.max() >= RIGHT:
            found[i] = int(row.argmax())
            free[found[i]] = False
    return found


def measure(
    mine: Sequence[Instances], other: Sequence[Instances], truth: Sequence[Instances], rule: Rule
) -> tuple[Tally, float]:
    """The tally, and AP of the pseudo-labels as predictions."""
    tally, chosen = Tally([], []), AgreementFilter(OrganoidFilter())
    said, drawn = {}, {}
    for number, (first, second, true) in enumerate(zip(mine, other, truth, strict=True)):
        target = chosen(opinions(first, second, rule))
        taught = target.instances.select(~target.ignored)
        shows = matched(taught, true)
        tally.certainty += target.confidence[~target.ignored].tolist()
        tally.right += (shows >= 0).tolist()
        rest = np.setdiff1d(np.arange(len(true)), shows)
        doubted = target.instances.select(target.ignored)
        spared = int((doubted.iou(true.select(rest)) >= RIGHT).any(axis=0).sum())
        tally.drawn += len(true)
        tally.ignored += spared
        tally.background += len(rest) - spared
        said[str(number)], drawn[str(number)] = taught, true
    return tally, average_precision(said, drawn)


def line(rule: Rule, tally: Tally, ap: float) -> str:
    """A row of the table."""
    c, right = np.array(tally.certainty), np.array(tally.right, bool)
    cells = (
        f"{len(c)}", f"{c.sum():.0f}", f"{right.sum()}", f"{c[right].sum() / c.sum():.3f}",
        f"{c[right].sum() / tally.drawn:.3f}", f"{tally.ignored} / {tally.background}", f"{ap:.3f}",
    )  # fmt: skip
    return f"| {rule} | {' | '.join(cells)} |"


def main(arguments: Sequence[str]) -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="validation", help="a key of few_label_splits.json")
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--views", type=int, choices=(1, 4), default=4)
    args = parser.parse_args(arguments)
    try:
        names = few_label_split(args.data / "few_label_splits.json", args.split)
        items = load_coco(args.data / "instances_val.json", args.data / "val", names)
        zooms = ZOOMS if args.views == 4 else (1.0,)
        seen = [see(folder, items, zooms) for folder in args.models]
    except OrganosegError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    truth = [item.instances for item in items]
    print(f"| {' | '.join(HEADERS)} |\n{'| --- ' * len(HEADERS)}|")
    for place, mine in enumerate(seen):
        for rule in RULES:
            print(line(rule, *measure(mine, seen[(place + 1) % len(seen)], truth, rule)))
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
