"""Crops a second out of an archive, beside random slicing with zarr, dask and tensorstore, on four layouts.

    python benchmarks/archive_sampling.py --out ../bench/sampling --table docs/benchmarks.md

The programs take turns in one process on the same files, which the system holds in memory; each with its own
concurrency as it comes. The peers slice a 512 px window anywhere; the sampler reads a region of chunks once and cuts
several windows from it, which is the point of it. The sampler begins each turn with nothing read ahead.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.sampling_data import (
    FRAME,
    LAYOUTS,
    Layout,
    make_store,
    manifest_of_store,
)
from benchmarks.tables import markdown, origin, run_program
from organoseg.archive.sampler import Sampler

CROP = 512
Turn = Callable[[int], int]


def random_slicing(arrays: Sequence[Any], take: Callable[[Any, int, int], Any]) -> Turn:
    """A program that slices `CROP` windows anywhere; a turn has its number as seed."""

    def turn(seed: int) -> int:
        rng = np.random.default_rng(seed)
        frame = int(rng.integers(len(arrays)))
        y, x = rng.integers(0, FRAME - CROP + 1, 2).tolist()
        return int(take(arrays[frame], y, x).shape[0])

    return turn


def with_zarr(store: Path, frames: int) -> Turn:
    """zarr as it comes."""
    import zarr

    arrays = [zarr.open_array(store, path=str(n), mode="r") for n in range(frames)]
    return random_slicing(arrays, lambda a, y, x: a[y : y + CROP, x : x + CROP])


def with_dask(store: Path, frames: int) -> Turn:
    """dask with its default scheduler (threads)."""
    import dask.array

    arrays = [dask.array.from_zarr(str(store), component=str(n)) for n in range(frames)]
    return random_slicing(arrays, lambda a, y, x: a[y : y + CROP, x : x + CROP].compute())


def with_tensorstore(store: Path, frames: int) -> Turn:
    """tensorstore with its default concurrency, and no cache of decoded chunks, as by default."""
    import tensorstore

    arrays = [
        tensorstore.open(
            {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{store}/{n}/"}}, open=True
        ).result()
        for n in range(frames)
    ]
    return random_slicing(
        arrays, lambda a, y, x: a[y : y + CROP, x : x + CROP].read(order="C").result()
    )


def rate_of(turn: Turn, first: int, seconds: float) -> float:
    """Crops a second of a slicing program."""
    done, start = 0, perf_counter()
    while perf_counter() - start < seconds:
        turn(first + done)
        done += 1
    return done / (perf_counter() - start)


def rate_of_ours(sampler: Sampler, first: int, seconds: float, workers: int) -> float:
    """Crops a second of the sampler, from its start to the end of the last block that it was asked for."""
    size = sampler.blocks.size
    done, start = 0, perf_counter()
    stream = sampler.iterate(first // size * size, workers)
    while perf_counter() - start < seconds:
        for _ in islice(stream, size):
            pass
        done += size
    rate = done / (perf_counter() - start)
    stream.close()  # type: ignore[attr-defined]
    return rate


def measure_layout(
    layout: Layout, folder: Path, frames: int, rounds: int, seconds: float, workers: int
) -> dict[str, Any]:
    """Median rates of all programs on one layout."""
    store = folder / f"{layout.key}.zarr"
    ratio = make_store(store, layout, frames)
    sampler = Sampler(manifest_of_store(store, layout, frames), crop=CROP, seed=0)
    turns = {
        "zarr": with_zarr(store, frames),
        "dask": with_dask(store, frames),
        "tensorstore": with_tensorstore(store, frames),
    }
    rates: dict[str, list[float]] = {name: [] for name in (*turns, "ours")}
    for turn in turns.values():
        rate_of(turn, 0, seconds / 4)
    names = list(rates)
    for number in range(rounds):
        for name in names[number % 4 :] + names[: number % 4]:
            first = 1_000_000 * (number + 1)
            rates[name].append(
                rate_of_ours(sampler, first, seconds, workers)
                if name == "ours"
                else rate_of(turns[name], first, seconds)
            )
    shutil.rmtree(store)
    return {
        "layout": layout.title,
        "ratio": ratio,
        "rates": {name: float(np.median(found)) for name, found in rates.items()},
        "all": rates,
    }


def memory_of_process() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4096


def measure_memory(folder: Path, frames: int, crops: int) -> dict[str, Any]:
    """Memory after a warm-up of a tenth, and how much more at most while ``crops`` are taken."""
    layout = LAYOUTS[0]
    store = folder / "memory.zarr"
    make_store(store, layout, frames)
    sampler = Sampler(manifest_of_store(store, layout, frames), crop=CROP, seed=0)
    stream = sampler.iterate()
    for _ in islice(stream, crops // 10):
        pass
    before = memory_of_process()
    most = before
    for number, _ in enumerate(islice(stream, crops)):
        if number % 100 == 0:
            most = max(most, memory_of_process())
    stream.close()  # type: ignore[attr-defined]
    shutil.rmtree(store)
    return {"crops": crops, "bytes": before, "growth": most / before - 1}


def sampling_table(result: dict[str, Any]) -> str:
    """The block `archive-sampling` of docs/benchmarks.md."""
    head = ("layout", "zarr", "dask", "tensorstore", "ours", "ours / zarr", "ours / tensorstore")
    rows = []
    for found in result["layouts"]:
        r = found["rates"]
        shown = [f"{r[name]:.0f}" for name in ("zarr", "dask", "tensorstore", "ours")]
        shares = [f"{r['ours'] / r[name]:.1f}" for name in ("zarr", "tensorstore")]
        rows.append([found["layout"], *shown, *shares])
    ratios = [found["ratio"] for found in result["layouts"]]
    memory, frames = result["memory"], result["frames"]
    foot = [
        f"- {CROP} px crops a second out of {frames} frames of {FRAME}x{FRAME} uint16, zstd level 3 and crc32c, "
        f"{min(ratios):.2f} to {max(ratios):.2f} of their size; files in the system's memory; medians of "
        f"{result['rounds']} turns of {result['seconds']:g} s.",
        "- zarr, dask and tensorstore slice a window anywhere, with their own concurrency as it comes. Ours cuts 8 "
        "windows from each region of chunks that it reads, and shuffles 128 of them: "
        + (f"{result['workers']} processes." if result["workers"] else "threads of one process."),
        f"- Memory over {memory['crops']:,} crops: {memory['bytes'] / 2**20:.0f} MiB after a tenth as many, "
        f"{memory['growth']:+.1%} at most from then on.",
        *origin(result),
    ]
    return "\n".join([markdown(head, rows), "", *foot])


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--frames", type=int, default=4, help="frames a layout")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=10.0, help="of a turn")
    add("--workers", type=int, default=0, help="processes of ours; 0: threads")
    add("--memory-crops", type=int, default=20_000)
    return parser


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures of a run."""
    with tempfile.TemporaryDirectory(dir=args.out) as name:
        folder = Path(name)
        layouts = [
            measure_layout(layout, folder, args.frames, args.rounds, args.seconds, args.workers)
            for layout in LAYOUTS
        ]
        memory = measure_memory(folder, args.frames, args.memory_crops)
    settings = {name: getattr(args, name) for name in ("frames", "rounds", "seconds", "workers")}
    return {**settings, "layouts": layouts, "memory": memory}


def main(arguments: Sequence[str]) -> int:
    """The program."""
    return run_program("archive_sampling", arguments, make_parser(), measure, sampling_table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
