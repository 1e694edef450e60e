"""How fast a review answers in a real napari window, and what a killed window loses.

    xvfb-run -a -s "-screen 0 1600x1000x24" python -m benchmarks.review_viewer --kills 50 --out ../bench/viewer

A time ends when the action is on disk and its handler is back ("answer"), and again when the window has been drawn
("drawn"). Without a graphics card Mesa draws in software, which is most of the second figure. A killed window is one
that SIGKILL ends at a random moment of a script; then the project is opened again and its journal compared with what
the script said it had done.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.machine import ROOT
from benchmarks.tables import markdown, origin, run_program
from organoseg.core import Instances, Mask
from organoseg.io import write_instances


def make_review(folder: Path, size: int, organoids: int, images: int = 2) -> Path:
    """A project of noise images with discs of 15 to 60 px."""
    import tifffile

    from organoseg.review import create_project

    rng = np.random.default_rng(0)
    found = []
    (folder / "images").mkdir(parents=True)
    for number in range(images):
        pixels = rng.integers(0, 255, (size, size), dtype=np.uint8)
        tifffile.imwrite(folder / "images" / f"{number}.tif", pixels)
        masks = [_disc(rng, size) for _ in range(organoids)]
        scores = rng.uniform(0.3, 1, organoids)
        instances = Instances.from_masks((size, size), masks, scores=scores)
        found.append((f"{number}.tif", instances))
    write_instances(folder / "instances.json", found)
    project = folder / "review"
    create_project(project, [folder / "images"], predictions=folder / "instances.json")
    return project


def _disc(rng: np.random.Generator, size: int) -> Mask:
    radius = int(rng.integers(15, 60))
    y, x = rng.integers(radius, size - radius, 2).tolist()
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    mask = Mask.from_bits(rows**2 + columns**2 <= radius**2, y - radius, x - radius)
    assert mask is not None
    return mask


def open_window(project: Path) -> Any:
    """A viewer with the review open; returns the widget."""
    import napari

    from organoseg_napari.review import ReviewWidget

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1400, 900)
    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Review organoids")
    widget.open(project)
    return widget


def stroke(widget: Any, rng: np.random.Generator) -> None:
    """A stroke at the rim of the organoid under review."""
    from organoseg_napari.review_layers import EDIT

    layer = widget.canvas.layer(EDIT)
    layer.mode, layer.brush_size = "paint", 10
    rows, columns = np.nonzero(np.asarray(layer.data))
    at = int(rng.integers(len(rows))) if len(rows) else None
    y, x = (rows[at], columns[at]) if at is not None else (20, 20)
    y = min(max(y + int(rng.integers(-12, 13)), 0), layer.data.shape[0] - 1)
    x = min(max(x + int(rng.integers(-12, 13)), 0), layer.data.shape[1] - 1)
    with layer.block_history():
        layer.paint((y, x), 1)


def measure_latency(size: int, organoids: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of each action, and bytes written a stroke."""
    from qtpy.QtWidgets import QApplication

    with tempfile.TemporaryDirectory() as folder:
        project = make_review(Path(folder), size, organoids)
        begin = perf_counter()
        widget = open_window(project)
        QApplication.processEvents()
        figures: dict[str, Any] = {"first image, s": round(perf_counter() - begin, 2)}
        rng = np.random.default_rng(0)
        journal = project / "journal.jsonl"
        before = journal.stat().st_size
        figures["stroke"] = _timed(lambda: stroke(widget, rng), rounds)
        figures["bytes a stroke"] = round((journal.stat().st_size - before) / rounds)
        figures["accept to next"] = _timed(widget.do.accept, rounds)
        figures["undo"] = _timed(widget.do.undo, rounds // 2)
        steps = itertools.cycle((1, -1))
        figures["other image"] = _timed(lambda: widget.do.open_image(next(steps)), 10)
        widget.viewer.close()
    return figures


def _timed(action: Callable[[], Any], times: int) -> dict[str, float]:
    from qtpy.QtWidgets import QApplication

    answers, drawn = [], []
    for _ in range(times):
        begin = perf_counter()
        action()
        answers.append((perf_counter() - begin) * 1e3)
        QApplication.processEvents()
        drawn.append((perf_counter() - begin) * 1e3)
    return {
        f"{name} {label}": round(float(np.quantile(values, share)), 1)
        for name, values in (("answer", answers), ("drawn", drawn))
        for label, share in (("p50", 0.5), ("p95", 0.95))
    }


def play(project: Path, actions: int) -> None:
    """The script of a window that will be killed: says each action before and after it is done."""
    from qtpy.QtWidgets import QApplication

    widget = open_window(project)
    rng = np.random.default_rng(1)
    session = widget.desk.session
    for number in range(actions):
        name = rng.choice(
            ("stroke", "accept", "reject", "undo", "draw"), p=(0.5, 0.2, 0.1, 0.1, 0.1)
        )
        if name == "draw":
            widget.do.draw()
            stroke(widget, rng)
        elif name == "stroke":
            stroke(widget, rng)
        else:
            getattr(widget.do, str(name))()
        QApplication.processEvents()
        print(json.dumps({"action": number, "lines": len(session.history)}), flush=True)


def kill_windows(kills: int, actions: int) -> dict[str, Any]:
    """Kill a window at random moments of the script; actions lost and seconds until the review is open again."""
    from organoseg.review import ReviewSession

    rng = np.random.default_rng(2)
    lost, seconds = [], []
    for _ in range(kills):
        with tempfile.TemporaryDirectory() as folder:
            project = make_review(Path(folder), 512, 60)
            said = list(_killed(project, actions, int(rng.integers(actions)), rng.uniform(0, 0.05)))
            begin = perf_counter()
            with ReviewSession.open(project) as session:
                seconds.append(perf_counter() - begin)
                lost.append(max(said) - len(session.history))
    return {
        "kills": kills,
        "most actions lost": max(lost),
        "slowest opening, s": round(max(seconds), 3),
    }


def _killed(project: Path, actions: int, after: int, more: float) -> Iterator[int]:
    """The numbers of journal lines that the window said it had written, until it was killed."""
    module = ["-m", "benchmarks.review_viewer"]
    command = [sys.executable, *module, "--play", str(project), str(actions)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("{"):
                continue
            said = json.loads(line)
            yield said["lines"]
            if said["action"] >= after:
                # Somewhere in the middle of the next one.
                try:
                    process.wait(more)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                break


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """What was asked for."""
    latency = measure_latency(args.size, args.organoids, args.rounds)
    return {**latency, **(kill_windows(args.kills, args.actions) if args.kills else {})}


def table(result: dict[str, Any]) -> str:
    """Milliseconds an action, and single figures below."""
    names = ("answer p50", "answer p95", "drawn p50", "drawn p95")
    rows = [
        [action, *(f"{times[name]:.0f}" for name in names)]
        for action, times in result.items()
        if isinstance(times, dict) and names[0] in times
    ]
    single = [f"{key}: {value}" for key, value in result.items() if isinstance(value, int | float)]
    return "\n\n".join(
        [markdown(("ms", *names), rows), "; ".join(single), "\n".join(origin(result))]
    )


def main(arguments: list[str]) -> int:
    """Measure, or be the window that is killed."""
    if arguments[:1] == ["--play"]:
        play(Path(arguments[1]), int(arguments[2]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", type=int, default=4096, help="side of the images, px")
    parser.add_argument("--organoids", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--kills", type=int, default=0, help="also kill so many windows")
    parser.add_argument("--actions", type=int, default=200, help="of the script of a killed window")
    return run_program("review_viewer", arguments, parser, measure, table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
