"""What a reviewer waits for: edits, the next organoid, the next image, and the return of a long journal.

    python benchmarks/review_latency.py --out runs/review_latency --table docs/benchmarks.md

Two images of 4096 x 4096 with 500 organoids each; the part below the viewer (journal and state); every
action is written before it counts. The limits are those the project promises.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import describe_machine, machine_line, shown_command
from benchmarks.tables import markdown, replace_block
from organoseg.core import Instances, Mask, write_json
from organoseg.io import write_instances
from organoseg.review import Project, ReviewSession, create_project

EDITS = 300


def disc(radius: int) -> np.ndarray[Any, Any]:
    """A filled circle."""
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return rows**2 + columns**2 <= radius**2


def make_project(folder: Path, side: int, count: int) -> Project:
    """Two images of noise with ``count`` discs of 20 to 90 px each; no model is needed to wait for a disk."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(2):
        name = f"image{number}.tif"
        pixels = rng.integers(0, 255, (side, side), dtype=np.uint8)
        tifffile.imwrite(folder / "images" / name, pixels, compression="zlib")
        masks = []
        for _ in range(count):
            bits = disc(int(rng.integers(10, 46)))
            y, x = rng.integers(0, side - bits.shape[0], 2).tolist()
            masks.append(Mask(y, x, bits))
        ids = np.arange(1, count + 1) + number * count
        scores = rng.uniform(0.3, 1, count)
        pairs.append((name, Instances.from_masks((side, side), masks, scores=scores, ids=ids)))
    write_instances(folder / "instances.json", pairs)
    predictions = folder / "instances.json"
    return create_project(folder / "project", [folder / "images"], predictions=predictions)


def timed(action: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = perf_counter()
    action()
    return 1000 * (perf_counter() - start)


def edited(mask: Mask, rng: np.random.Generator) -> Mask:
    """A brush stroke of 20 px across the edge of a mask."""
    bits = np.pad(mask.bits, 12)
    y, x = (int(rng.integers(0, n - 21)) for n in bits.shape)
    bits[y : y + 21, x : x + 21] |= disc(10)
    made = Mask.from_bits(bits, mask.y - 12, mask.x - 12)
    assert made is not None
    y0, x0 = max(-made.y, 0), max(-made.x, 0)
    part = Mask.from_bits(made.bits[y0:, x0:], made.y + y0, made.x + x0)
    assert part is not None
    return part


def measure(project: Project) -> dict[str, list[float]]:
    """Milliseconds and bytes of each thing a reviewer waits for."""
    rng = np.random.default_rng(1)
    found: dict[str, list[float]] = {k: [] for k in ("edit", "bytes", "accept, next", "undo")}
    with ReviewSession.open(project, "benchmark") as session:
        found["image, not read ahead"] = [timed(session.load)]
        session.load_ahead()
        for _ in range(EDITS):
            number = session.place.organoid
            if number is None:
                break
            before = project.journal_path.stat().st_size
            mask = session.state().organoids[number].mask
            side = session.state().shape[0]
            stroke = edited(mask, rng)
            if max(stroke.box) <= side:
                found["edit"].append(timed(lambda stroke=stroke: session.replace(stroke)))
                found["bytes"].append(float(project.journal_path.stat().st_size - before))
                found["undo"].append(timed(session.undo))
            found["accept, next"].append(timed(lambda: (session.accept(), session.next())))
        session.complete(accept_rest=True)

        def onward() -> None:
            session.next_image()
            session.load()
            session.state()

        found["next image, read ahead"] = [timed(onward)]
    return found


def measure_recovery(project: Project, actions: int) -> float:
    """Milliseconds to open a journal of ``actions`` edits of masks and show the image."""
    rng = np.random.default_rng(2)
    with ReviewSession.open(project, "benchmark") as session:
        session.reopen()
        numbers = list(session.state().organoids)
        while len(session.history) < actions:
            number = numbers[int(rng.integers(len(numbers)))]
            stroke = edited(session.state().organoids[number].mask, rng)
            if max(stroke.box) <= session.state().shape[0] and max(stroke.bits.shape) < 200:
                session.replace(stroke, number)
            else:
                session.set_class(1, number)
                session.undo()

    def recover() -> None:
        with ReviewSession.open(project.folder, "benchmark") as again:
            again.state()

    return timed(recover)


def table(found: dict[str, list[float]], recovery: float, journal: int, actions: int) -> str:
    """Markdown."""
    limits = {
        "edit": 20,
        "undo": 20,
        "accept, next": 100,
        "image, not read ahead": None,
        "next image, read ahead": 500,
    }
    rows = [
        [
            name,
            f"{np.median(found[name]):.1f} ms",
            f"{np.percentile(found[name], 95):.1f} ms",
            f"{limit} ms" if limit else "",
        ]
        for name, limit in limits.items()
    ]
    size = found["bytes"]
    rows.append(
        ["bytes an edit", f"{np.median(size):.0f}", f"{np.percentile(size, 95):.0f}", "65536"]
    )
    rows.append(
        [
            f"return of {actions} actions ({journal / 1e6:.1f} MB)",
            f"{recovery:.0f} ms",
            "",
            "2000 ms",
        ]
    )
    return markdown(["", "median", "95 %", "limit"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it all."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder that is made anew")
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--organoids", type=int, default=500)
    parser.add_argument("--actions", type=int, default=10_000)
    parser.add_argument("--table", type=Path, metavar="FILE.md")
    args = parser.parse_args(given)
    work = args.out / f"work-{os.getpid()}"
    try:
        project = make_project(work, args.side, args.organoids)
        found = measure(project)
        recovery = measure_recovery(project, args.actions)
        journal = project.journal_path.stat().st_size
    finally:
        shutil.rmtree(work, ignore_errors=True)
    machine = describe_machine()
    write_json(
        args.out / "results.json", {"machine": machine, "ms": found, "recovery_ms": recovery}
    )
    text = table(found, recovery, journal, args.actions)
    text += f"\n\n{machine_line(machine)}. `{shown_command('review_latency.py', given)}`"
    print(text)
    if args.table is not None:
        replace_block(args.table, "review-latency", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
