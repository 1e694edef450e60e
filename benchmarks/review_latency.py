"""What a review costs its reviewer, without a window: an edit, the next organoid, the next image, opening again.

    python benchmarks/review_latency.py --out ../bench/review --table docs/benchmarks.md

Images of 4096 x 4096 with 500 organoids each. Times are seen from the caller: the action is on disk (fsync) when it
returns. `review_viewer.py` adds what napari needs to draw it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tifffile

from benchmarks.tables import markdown, origin, run_program
from organoseg.core import Instances, Mask
from organoseg.io import write_instances
from organoseg.review import ReviewSession, create_project

#: What the project promises: p95 in ms, or bytes.
LIMITS = {"edit": 20.0, "next": 100.0, "image": 500.0, "bytes": 65536.0, "recovery": 2000.0}


def organoid(rng: np.random.Generator, side: int) -> Mask:
    """A bumpy disc of 40 to 240 px somewhere in a square image."""
    radius = float(rng.uniform(20, 120))
    size = int(2.6 * radius)
    rows, columns = np.ogrid[:size, :size]
    y, x = rows - size / 2, columns - size / 2
    angle = np.arctan2(y, x)
    edge = radius * (1 + 0.1 * np.sin(5 * angle + rng.uniform(0, 6)) + 0.05 * np.sin(17 * angle))
    top, left = rng.integers(0, side - size, 2).tolist()
    mask = Mask.from_bits(np.hypot(y, x) <= edge, top, left)
    assert mask is not None
    return mask


def repainted(rng: np.random.Generator, mask: Mask) -> Mask:
    """After one stroke of a brush of 20 px at its edge."""
    bits = mask.bits.copy()
    rows, columns = np.nonzero(bits)
    at = int(rng.integers(len(rows)))
    y, x = np.ogrid[: bits.shape[0], : bits.shape[1]]
    near = np.hypot(y - rows[at], x - columns[at]) <= 10
    bits[near] = rng.random() < 0.5
    return Mask.from_bits(bits, mask.y, mask.x) or mask


def make_project(folder: Path, images: int, side: int, organoids: int) -> Path:
    """Images of noise with many organoids, and a review of them."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    found = []
    for number in range(images):
        plane = rng.integers(0, 4096, (side, side), dtype=np.uint16)
        tifffile.imwrite(folder / "images" / f"{number}.tif", plane)
        masks = [organoid(rng, side) for _ in range(organoids)]
        scores = rng.uniform(0.3, 1, organoids)
        found.append((f"{number}.tif", Instances.from_masks((side, side), masks, scores=scores)))
    write_instances(folder / "found.json", found)
    create_project(folder / "review", [folder / "images"], predictions=folder / "found.json")
    return folder / "review"


def timed(seconds: list[float], act: Any, *arguments: Any) -> Any:
    """Do it and note how long it took."""
    start = perf_counter()
    result = act(*arguments)
    seconds.append(perf_counter() - start)
    return result


def edits(session: ReviewSession, count: int) -> tuple[list[float], list[int]]:
    """Repaint organoids of the present image, a stroke each; seconds and bytes written."""
    rng = np.random.default_rng(1)
    seconds: list[float] = []
    written: list[int] = []
    journal = session.project.journal_path
    ids = list(session.state().organoids)
    for number in range(count):
        chosen = ids[number % len(ids)]
        mask = repainted(rng, session.state().organoids[chosen].mask)
        before = journal.stat().st_size
        timed(seconds, session.replace, mask, chosen)
        written.append(journal.stat().st_size - before)
    return seconds, written


def judged(session: ReviewSession, count: int) -> list[float]:
    """Accept and go on to the next."""
    seconds: list[float] = []

    def accept_and_next() -> None:
        session.accept()
        session.next()

    for _ in range(count):
        if session.place.organoid is None:
            break
        timed(seconds, accept_and_next)
    return seconds


def turned(session: ReviewSession, ahead: bool) -> list[float]:
    """From one image to the next, until its pixels are there."""
    seconds: list[float] = []

    def to_next() -> None:
        if session.next_image() is not None:
            session.load()

    for _ in range(len(session.project.pictures) - 1):
        if ahead:
            session.load_ahead()
            # The reviewer is busy with the present image meanwhile.
            list(session._ahead._coming.values())[-1].result()
        timed(seconds, to_next)
    return seconds


def recovery(project: Path, actions: int) -> tuple[list[float], int]:
    """Opening again, state included, after that many actions on one image; and the journal's size."""
    rng = np.random.default_rng(2)
    with ReviewSession.open(project, "bench") as session:
        journal = session._journal
        assert journal is not None
        journal.sync = False  # a day's work in seconds; what is read back is the same
        ids = list(session.state().organoids)
        while len(session.history) < actions:
            chosen = ids[int(rng.integers(len(ids)))]
            session.replace(repainted(rng, session.state().organoids[chosen].mask), chosen)
        size = session.project.journal_path.stat().st_size
    seconds: list[float] = []
    for _ in range(5):
        start = perf_counter()
        with ReviewSession.open(project, "bench") as session:
            session.state()
            seconds.append(perf_counter() - start)
    return seconds, size


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    folder = Path(tempfile.mkdtemp(dir=args.out))
    try:
        project = make_project(folder, args.images, args.side, args.organoids)
        with ReviewSession.open(project, "bench") as session:
            edit, written = edits(session, args.edits)
            judge = judged(session, args.organoids // 2)
            session.go(session.project.pictures[0].key)
            cold = turned(session, ahead=False)
        with ReviewSession.open(project, "bench") as session:
            session.go(session.project.pictures[0].key)
            warm = turned(session, ahead=True)
        # Without fsync: what safety against a power cut costs.
        with ReviewSession.open(project, "bench") as session:
            assert session._journal is not None
            session._journal.sync = False
            unsynced, _ = edits(session, args.edits)
        again, size = recovery(project, args.actions)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "side": args.side,
        "organoids": args.organoids,
        "edit": figures(edit),
        "edit_without_fsync": figures(unsynced),
        "next": figures(judge),
        "image": figures(warm),
        "image_not_ahead": figures(cold),
        "bytes": {"p50": float(np.median(written)), "p95": percentile(written), "n": len(written)},
        "actions": args.actions,
        "journal_bytes": size,
        "recovery": figures(again),
    }


def percentile(values: Sequence[float]) -> float:
    """The 95th."""
    return float(np.percentile(values, 95)) if len(values) else float("nan")


def figures(seconds: Sequence[float]) -> dict[str, float]:
    """Median, p95 and worst in ms."""
    ms = 1000 * np.asarray(seconds, float)
    if not len(ms):
        return {"p50": float("nan"), "p95": float("nan"), "worst": float("nan"), "n": 0}
    return {
        "p50": float(np.median(ms)),
        "p95": percentile(ms.tolist()),
        "worst": float(ms.max()),
        "n": len(ms),
    }


def latency_table(result: dict[str, Any]) -> str:
    """The block of docs/benchmarks.md."""
    words = {
        "edit": ("an edit, on disk (ms)", "edit"),
        "edit_without_fsync": ("the same without fsync (ms)", ""),
        "next": ("accept, and the next organoid (ms)", "next"),
        "image": ("the next image, loaded ahead (ms)", "image"),
        "image_not_ahead": ("the next image, not loaded ahead (ms)", ""),
        "bytes": ("written by an edit (bytes)", "bytes"),
        "recovery": (f"opening after {result['actions']:,} actions (ms)", "recovery"),
    }
    rows = []
    for key, (text, limit) in words.items():
        row = result[key]
        digits = 0 if row["p95"] >= 100 else 1
        rows.append(
            [text, f"{row['p50']:,.{digits}f}", f"{row['p95']:,.{digits}f}",
             f"{LIMITS[limit]:,.0f}" if limit else "", str(row["n"])]
        )  # fmt: skip
    table = markdown(("", "median", "p95", "promised", "measured"), rows)
    foot = (
        f"- Images of {result['side']} x {result['side']}, {result['organoids']} organoids each; no window. "
        f"The journal of {result['actions']:,} actions has {result['journal_bytes'] / 1e6:.1f} MB."
    )
    return "\n".join([table, "", foot, *origin(result)])


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--side", type=int, default=4096, help="of the images, px")
    add("--images", type=int, default=6)
    add("--organoids", type=int, default=500, help="in each image")
    add("--edits", type=int, default=400)
    add("--actions", type=int, default=10_000, help="in the journal that is opened again")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The program."""
    return run_program("review_latency", arguments, make_parser(), measure, latency_table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
