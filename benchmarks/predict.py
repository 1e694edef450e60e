"""`organoseg predict` as a user runs it: speed beside its bare network and OrganoID; memory over many images.

    python benchmarks/predict.py --data ../shared/data --model runs/model --peer ../shared/peers/organoid \
        --out runs/predict --table docs/benchmarks.md

The command runs in a process of its own, from start to report, on files on disk; its time is taken from outside. The
bare network is its forward pass on the same images, in memory, one by one; OrganoID's time is its network and its
parting in memory, without reading or writing anything. The three take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import IO, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import ROOT
from benchmarks.speed import WARM_UP, Clock, Ours, Program, Theirs
from benchmarks.tables import markdown, origin, run_program
from organoseg.core import DataError, Image, UsageError
from organoseg.io import find_images, read_image

#: What is to be reached: times the bare network, times OrganoID, MB a 1,000 images, MB for the largest image.
AIMS = {"over_network": 1.3, "over_peer": 2.0, "slope_mb": 1.0, "large_mb": 2048.0}
#: Memory is looked at after this share of the images: it grows with each thread's largest picture until about then.
SETTLED = 0.6
SMALL, LARGE = "m_orgaquant/train", "lung_well_focus_planes"


@dataclass
class Run:
    """One command: seconds, greatest memory (MB), and memory (MB) after each image that was done."""

    seconds: float = 0.0
    peak_mb: float = 0.0
    course: list[tuple[int, float]] = field(default_factory=list)


def command(images: Path, model: Path, out: Path, threads: int, write: str) -> Run:
    """`organoseg predict` on a folder or file into a fresh folder. DataError when it fails."""
    shutil.rmtree(out, ignore_errors=True)
    words = [sys.executable, "-m", "organoseg.cli.main", "predict", str(images)]
    words += ["--model", str(model), "--out", str(out), "--write", write, "--progress", "json"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    start = perf_counter()
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        run = Run(course=list(_course(process.stderr, process.pid)))
        # The status of this one process: its rusage is not mixed with those before it.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    run.seconds = perf_counter() - start
    run.peak_mb = usage.ru_maxrss / 1024
    if process.returncode != 0:
        raise DataError(f"the command failed with exit code {process.returncode}", where=str(out))
    return run


def _course(lines: IO[str], pid: int) -> Sequence[tuple[int, float]]:
    """Images done and memory (MB), at each word of the command about an image."""
    found = []
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            continue  # a warning
        if told.get("event") == "item":
            found.append((int(told["done"]), _resident_mb(pid)))
    return [pair for pair in found if pair[1] > 0]


def _resident_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    rows = [line.split() for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(rows[0][1]) / 1024 if rows else 0.0


def slope_mb(course: Sequence[tuple[int, float]]) -> float:
    """MB a 1,000 images: Theil and Sen's slope once memory has settled, which one peak does not bend."""
    from scipy.stats import theilslopes

    last = course[-1][0]
    done, memory = np.array([pair for pair in course if pair[0] >= SETTLED * last]).T
    return float(theilslopes(memory, done)[0]) * 1000


def chosen_images(folder: Path, count: int, out: Path) -> list[Path]:
    """``count`` images copied to ``out``, evenly from all in ``folder``; DataError when there are fewer."""
    found = list(find_images([folder]))
    if len(found) < count:
        raise DataError(f"{count} images are asked for and {len(found)} are there", where=folder)
    places = np.linspace(0, len(found) - 1, count).round().astype(int).tolist()
    out.mkdir(parents=True)
    return [Path(shutil.copy(found[place], out / found[place].name)) for place in places]


def milliseconds(program: Program, images: Sequence[Image]) -> dict[str, float]:
    """Mean milliseconds an image: of each step, and all."""
    for image in images[:WARM_UP]:
        program(image, Clock())
    clock = Clock()
    for image in images:
        program(image, clock)
    means = {step: float(np.mean(values)) for step, values in clock.steps.items()}
    return {**means, "all": sum(means.values())}


def measure_speed(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Whole command, bare network and OrganoID by turns; medians of the rounds."""
    import torch

    torch.set_num_threads(args.threads)
    paths = chosen_images(args.data / SMALL, args.images, work / "images")
    one = work / "one" / paths[0].name
    one.parent.mkdir()
    shutil.copy(paths[0], one)
    images = [read_image(path) for path in paths]
    ours = Ours(args.model)
    peers: dict[str, Program] = {}
    if args.peer is not None:
        network = args.peer / "organoid.tflite"
        peers = {
            "peer": Theirs(network, args.threads),
            "peer_whole": Theirs(network, args.threads, whole=True),
        }
    turns: dict[str, Callable[[], Any]] = {
        "start": lambda: command(one, args.model, work / "out", args.threads, args.write).seconds,
        "command": lambda: (
            command(work / "images", args.model, work / "out", args.threads, args.write).seconds
        ),
        "ours": lambda: milliseconds(ours, images),
        **{name: lambda p=p: milliseconds(p, images) for name, p in peers.items()},  # type: ignore[misc]
    }
    seen: dict[str, list[Any]] = {name: [] for name in turns}
    for _ in range(args.rounds):
        for name, turn in turns.items():
            seen[name].append(turn())
    whole = float(np.median(seen["command"])) * 1e3 / len(images)
    start = float(np.median(seen["start"]))
    result = {
        "images": len(images),
        "rounds": args.rounds,
        "start_seconds": start,
        "command_ms": whole,
        "command_ms_without_start": whole - (start * 1e3 - whole) / max(len(images) - 1, 1),
        "images_a_second": 1e3 / whole,
        "network_ms": _median(seen["ours"], "network"),
        "segment_ms": _median(seen["ours"], "all"),
        **{f"{name}_ms": _median(seen[name], "all") for name in peers},
    }
    result["over_network"] = result["command_ms"] / result["network_ms"]
    result["over_segment"] = result["command_ms"] / result["segment_ms"]
    if peers:
        result["over_peer"] = result["peer_ms"] / result["command_ms"]
    return result


def _median(rounds: Sequence[dict[str, float]], step: str) -> float:
    return float(np.median([r[step] for r in rounds]))


def measure_memory(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """How memory goes over many images."""
    chosen_images(args.data / SMALL, args.many, work / "many")
    run = command(work / "many", args.model, work / "many_out", args.threads, args.write)
    return {
        "images": args.many,
        "peak_mb": run.peak_mb,
        "settled_mb": float(np.median([mb for _, mb in run.course])),
        "slope_mb": slope_mb(run.course),
        "course": run.course[:: max(1, len(run.course) // 50)],
    }


def measure_large(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Peak memory and time of the largest image."""
    largest = max(find_images([args.data / LARGE]), key=lambda path: path.stat().st_size)
    shape = read_image(largest).shape
    run = command(largest, args.model, work / "large_out", args.threads, args.write)
    return {"shape": list(shape), "seconds": run.seconds, "large_mb": run.peak_mb}


def table(result: dict[str, Any]) -> str:
    """The block of docs/benchmarks.md."""
    rows: list[list[str]] = []
    if speed := result.get("speed"):
        rows += _speed_rows(speed)
    if memory := result.get("memory"):
        rows += [
            [
                f"memory over {memory['images']} images: slope",
                f"{memory['slope_mb']:+.2f} MB a 1,000",
                "< 1 MB",
            ],
            [
                "memory over them: settled, peak",
                f"{memory['settled_mb']:.0f}, {memory['peak_mb']:.0f} MB",
                "",
            ],
        ]
    if large := result.get("large"):
        size = "x".join(map(str, large["shape"]))
        rows += [
            [f"image of {size}: peak memory", f"{large['large_mb']:.0f} MB", "< 2048 MB"],
            [f"image of {size}: time of the command", f"{large['seconds']:.1f} s", ""],
        ]
    return "\n".join([markdown(("", "measured", "aim"), rows), "", *_foot(result)])


def _speed_rows(speed: dict[str, Any]) -> list[list[str]]:
    rows = [
        ["whole command, images a second", f"{speed['images_a_second']:.1f}", ""],
        ["whole command, ms an image", f"{speed['command_ms']:.1f}", ""],
        ["the same without its start", f"{speed['command_ms_without_start']:.1f}", ""],
        ["start: Python, torch, model, one image", f"{speed['start_seconds']:.1f} s", ""],
        ["bare network, ms an image", f"{speed['network_ms']:.1f}", ""],
        ["network and masks, ms an image", f"{speed['segment_ms']:.1f}", ""],
        ["whole command over bare network", f"**{speed['over_network']:.2f}**", "<= 1.3"],
        ["whole command over network and masks", f"{speed['over_segment']:.2f}", ""],
    ]
    if "over_peer" in speed:
        rows += [
            ["OrganoID, parted patch by patch, ms an image", f"{speed['peer_ms']:.1f}", ""],
            ["OrganoID, parted on the whole image", f"{speed['peer_whole_ms']:.1f}", ""],
            ["times as fast as OrganoID (patch by patch)", f"**{speed['over_peer']:.2f}**", ">= 2"],
        ]
    return rows


def _foot(result: dict[str, Any]) -> list[str]:
    speed = result.get("speed")
    lines = [
        f"- `--write {result['write']}`, {result['threads']} threads; model {result['model']}."
    ]
    if speed:
        lines.append(
            f"- {speed['images']} images of {SMALL}, medians of {speed['rounds']} rounds by turns; the network and "
            "OrganoID work in memory, the command reads and writes files."
        )
    return [*lines, *origin(result)]


PARTS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "speed": measure_speed,
    "memory": measure_memory,
    "large": measure_large,
}


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help=f"folder with {SMALL}/ and {LARGE}/")
    add("--model", type=Path, required=True, help="model folder")
    add("--peer", type=Path, help="folder with organoid.tflite (default: without OrganoID)")
    add(
        "--parts", type=lambda text: text.split(","), default=list(PARTS), help="speed,memory,large"
    )
    add("--images", type=int, default=300, help="images of the speed runs")
    add("--many", type=int, default=1000, help="images of the memory run")
    add("--rounds", type=int, default=3)
    add("--threads", type=int, default=2)
    add("--write", default="json,csv,labels,overlay,report", help="as `predict --write`")
    return parser


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The figures of every part that is asked for. UsageError when one is unknown."""
    if unknown := set(args.parts) - set(PARTS):
        raise UsageError(
            f"no part is called {', '.join(sorted(unknown))}", remedy=f"Known: {', '.join(PARTS)}."
        )
    args.model = args.model.resolve()
    result = {
        "model": Ours(args.model).name,
        "threads": args.threads,
        "write": args.write,
        "aims": AIMS,
    }
    with tempfile.TemporaryDirectory(dir=args.out) as work:
        for name in args.parts:
            print(f"measuring {name}", file=sys.stderr, flush=True)
            result[name] = PARTS[name](args, Path(work))
    return result


def main(arguments: Sequence[str]) -> int:
    """The program."""
    return run_program("predict", arguments, make_parser(), measure, table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
