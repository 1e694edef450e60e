"""Links between organoids of synthetic series with known identities: how many are right, beside plain distances.

    python benchmarks/tracking.py --seeds 10 --out runs/tracking --table docs/benchmarks.md

The masks are the true ones, spoilt as a segmentation spoils them: some missed, some invented, outlines off. With
--model the frames' pixels are segmented instead, and a found organoid is the true one with which its IoU is over .5.
A link is two sightings of one organoid in a row, whatever lies between; the peer is the same solver (LapTrack) with
its usual cost, the squared distance of the centres, at the cutoff that suits it best.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import markdown, origin, run_program
from organoseg.core import Image, Instances
from organoseg.dataset.synthetic_series import Flaws, SeriesSpec, make_series
from organoseg.tracking.link import Node, link

CONDITIONS: Mapping[str, tuple[SeriesSpec, Flaws]] = {
    "usual": (SeriesSpec(), Flaws()),
    "crowded": (SeriesSpec(count=(40, 50), overlap=0.35), Flaws()),
    "fast": (SeriesSpec(motion=4, drift=6), Flaws()),
    "stage jumps": (SeriesSpec(drift=20), Flaws()),
    "fast growth": (SeriesSpec(growth=(0.0, 0.15)), Flaws()),
    "poor masks": (SeriesSpec(), Flaws(missed=0.1, rough=2, invented=0.05)),
    "all at once": (
        SeriesSpec(count=(30, 40), motion=4, drift=6, overlap=0.4, appear=0.05, vanish=0.03),
        Flaws(missed=0.1, rough=2, invented=0.05),
    ),
}
#: Cutoffs that the peer may choose from, as distances in pixels; 15 is LapTrack's own.
PEER_CUTOFFS = (8.0, 15.0, 30.0)

Tracks = Sequence[Sequence[Node]]


@dataclass(frozen=True)
class LinkScore:
    """Links that there are, that were made, and that are both."""

    true: int = 0
    made: int = 0
    right: int = 0

    def __add__(self, other: LinkScore) -> LinkScore:
        return LinkScore(self.true + other.true, self.made + other.made, self.right + other.right)

    @property
    def recall(self) -> float:
        """Share of the true links that were made."""
        return self.right / self.true if self.true else 1.0

    @property
    def precision(self) -> float:
        """Share of the made links that are true."""
        return self.right / self.made if self.made else 1.0


def score(identities: Sequence[Sequence[int]], tracks: Tracks) -> LinkScore:
    """How right ``tracks`` are; ``identities`` name each organoid of each frame, 0 one that is none."""
    last: dict[int, Node] = {}
    true = set()
    for frame, names in enumerate(identities):
        for index, name in enumerate(names):
            if name:
                if name in last:
                    true.add((last[name], (frame, index)))
                last[name] = (frame, index)
    made = {pair for nodes in tracks for pair in pairwise(nodes)}
    return LinkScore(len(true), len(made), len(true & made))


def identities_of(found: Instances, truth: Instances) -> list[int]:
    """The id of the true organoid that each found one is (IoU over .5), else 0."""
    names = [0] * len(found)
    if len(found) and len(truth):
        table = found.iou(truth)
        for index, best in enumerate(table.argmax(axis=1).tolist()):
            if table[index, best] > 0.5 and table[:, best].argmax() == index:
                names[index] = int(truth.ids[best])
    return names


def ours(frames: Sequence[Instances]) -> Tracks:
    """The tracks of `organoseg track`."""
    return link(frames).tracks


def plain(cutoff: float) -> Callable[[Sequence[Instances]], Tracks]:
    """LapTrack on the centres alone."""

    def tracks(frames: Sequence[Instances]) -> Tracks:
        from laptrack import LapTrack

        from organoseg.tracking.cost import centres
        from organoseg.tracking.link import _chains

        graph = LapTrack(cutoff=cutoff**2, gap_closing_cutoff=cutoff**2).predict(
            [centres(found) for found in frames]
        )
        nodes = [(k, i) for k, found in enumerate(frames) for i in range(len(found))]
        return _chains(nodes, graph.edges())

    return tracks


Case = tuple[list[Instances], list[list[int]]]


def spoilt_case(seed: int, spec: SeriesSpec, flaws: Flaws) -> Case:
    """Spoilt masks of a series and their identities."""
    series = make_series(seed, spec, flaws, pixels=False)
    true = {int(i) for item in make_series(seed, spec, pixels=False) for i in item.instances.ids}
    names = [[i if i in true else 0 for i in item.instances.ids.tolist()] for item in series]
    return [item.instances for item in series], names


def segmented_case(seed: int, spec: SeriesSpec, segment: Callable[[Image], Instances]) -> Case:
    """What a model finds in the pixels of a series, and whose masks they are."""
    series = make_series(seed, spec)
    found = [segment(item.image) for item in series]
    names = [identities_of(f, item.instances) for f, item in zip(found, series, strict=True)]
    return found, names


def measure(cases: Iterable[Case]) -> dict[str, Any]:
    """Scores of ours and of the peer at its best, and seconds a frame of ours."""
    total, peers = LinkScore(), {cutoff: LinkScore() for cutoff in PEER_CUTOFFS}
    worst, seconds, frames = 1.0, 0.0, 0
    for found, names in cases:
        start = perf_counter()
        own = score(names, ours(found))
        seconds += perf_counter() - start
        frames += len(found)
        total += own
        worst = min(worst, own.recall, own.precision)
        for cutoff in PEER_CUTOFFS:
            peers[cutoff] += score(names, plain(cutoff)(found))
    best = max(peers, key=lambda cutoff: peers[cutoff].recall + peers[cutoff].precision)
    return {
        "links": total.true,
        "recall": total.recall,
        "precision": total.precision,
        "worst_of_a_series": worst,
        "peer_recall": peers[best].recall,
        "peer_precision": peers[best].precision,
        "peer_cutoff": best,
        "milliseconds_a_frame": 1e3 * seconds / max(frames, 1),
    }


def table(result: dict[str, Any]) -> str:
    """The block of docs/benchmarks.md."""
    rows = [
        [
            name,
            str(r["links"]),
            f"**{r['recall']:.1%}**",
            f"**{r['precision']:.1%}**",
            f"{r['worst_of_a_series']:.1%}",
            f"{r['peer_recall']:.1%}",
            f"{r['peer_precision']:.1%}",
            f"{r['milliseconds_a_frame']:.0f}",
        ]
        for name, r in result["conditions"].items()
    ]
    head = (
        "series",
        "true links",
        "found",
        "right of those made",
        "worst series",
        "centres only: found",
        "right",
        "ms a frame",
    )
    return "\n".join(
        [
            markdown(head, rows),
            "",
            f"- {result['seeds']} series of {SeriesSpec().frames} frames a row; masks: {result['masks']}.",
            "- Centres only: LapTrack with squared distances, at the best of the cutoffs "
            f"{', '.join(f'{c:g}' for c in PEER_CUTOFFS)} px for each row.",
            *origin(result),
        ]
    )


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--seeds", type=int, default=10, help="series of each kind")
    add(
        "--model",
        type=Path,
        help="segment the pixels with this model instead of spoiling true masks",
    )
    return parser


def measure_all(args: argparse.Namespace) -> dict[str, Any]:
    """Every row: series of true masks that were spoilt, or pixels that the model segments."""
    segment = None if args.model is None else _segmenter(args.model)
    conditions = {}
    for name, (spec, flaws) in CONDITIONS.items():
        if segment is not None and flaws != Flaws():
            continue  # the model spoils the masks itself
        cases = (
            spoilt_case(seed, spec, flaws)
            if segment is None
            else segmented_case(seed, spec, segment)
            for seed in range(args.seeds)
        )
        conditions[name] = measure(cases)
    return {
        "seeds": args.seeds,
        "masks": "true ones, spoilt" if segment is None else f"of the model {args.model.name}",
        "conditions": conditions,
    }


def main(arguments: Sequence[str]) -> int:
    """The program."""
    return run_program("tracking", arguments, make_parser(), measure_all, table)


def _segmenter(folder: Path) -> Callable[[Image], Instances]:
    from organoseg.inference.api import load_model

    model = load_model(folder)
    return model.predict


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
