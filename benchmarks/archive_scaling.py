"""Cost of an archive against its size: indexing, start-up of a training run, drawing a sample.

    python benchmarks/archive_scaling.py --out ../bench/scaling --table docs/benchmarks.md

Each synthetic store has images of 100 chunks (100 time points of 64 x 64 px, one chunk a plane), so that 100,000
chunks are 100,000 planes and cells: the most that the index has to do per byte.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import zarr

from benchmarks.tables import markdown, origin, run_program
from organoseg.archive.index import index_stores
from organoseg.training.archive_images import ArchiveImages
from organoseg.training.plan import geometry_of
from organoseg.training.recipe import Data, Recipe

PLANES, SIDE = 100, 64
DRAWN = 50


def make_store(path: Path, images: int) -> None:
    """Write images of 100 planes; the chunk files directly, which zarr would take minutes for."""
    zarr.create_group(path)
    pixels = np.random.default_rng(0).integers(90, 160, (PLANES, SIDE, SIDE), dtype=np.uint8)
    for number in range(images):
        zarr.create_array(
            path, name=f"{number:05d}", shape=pixels.shape, chunks=(1, SIDE, SIDE), dtype="u1",
            compressors=None,
        )  # fmt: skip
        for t in range(PLANES):
            # Each plane differs from all others, so that none is a duplicate.
            pixels[t, SIDE // 2, SIDE // 2 : SIDE // 2 + 4] = list(
                (number * PLANES + t).to_bytes(4)
            )
            folder = path / f"{number:05d}" / "c" / str(t) / "0"
            folder.mkdir(parents=True)
            (folder / "0").write_bytes(pixels[t].tobytes())


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result, wall seconds and processor seconds."""
    wall, cpu = perf_counter(), process_time()
    result = work()
    return result, perf_counter() - wall, process_time() - cpu


def start(catalogue: Path) -> ArchiveImages:
    """What a training run does before its first step: the catalogue read, everything weighed."""
    labelled = {"annotations": "labels.json", "images": "images"}
    data = Data.model_validate({"labelled": labelled, "unlabelled": catalogue})
    return ArchiveImages.open(data, 0, geometry_of(Recipe(data=data)), ())


def drawing(images: ArchiveImages) -> float:
    """Seconds to draw a sample of the stream of crops; nothing is read."""
    blocks = images.crops.blocks
    blocks.block(0)
    _, wall, _ = timed(lambda: [blocks.block(number) for number in range(DRAWN)])
    return wall / (DRAWN * blocks.size)


def measure_size(chunks: int, folder: Path) -> dict[str, float]:
    """Index, index again with nothing new, start a run, draw."""
    store, out = folder / "store.zarr", folder / "lab.sqlite"
    make_store(store, chunks // PLANES)
    _, index, cpu = timed(lambda: index_stores([str(store)], out))
    _, again, _ = timed(lambda: index_stores([str(store)], out))
    images, begun, _ = timed(lambda: start(out))
    found = {
        "chunks": chunks, "index_s": index, "index_cpu_s": cpu, "again_s": again, "start_s": begun,
        "draw_s": drawing(images), "bytes": out.stat().st_size,
    }  # fmt: skip
    shutil.rmtree(store)
    out.unlink()
    return found


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Every size."""
    rows = []
    for size in args.sizes:
        with tempfile.TemporaryDirectory(dir=args.out) as folder:
            rows.append(measure_size(size, Path(folder)))
        print(rows[-1], file=sys.stderr, flush=True)
    return {"rows": rows}


def scaling_table(result: dict[str, Any]) -> str:
    """The block `archive-scaling` of docs/benchmarks.md."""
    head = (
        "chunks", "index, s", "ms a chunk", "nothing new, s", "start of a run, s",
        "drawing a crop, µs", "catalogue, MB",
    )  # fmt: skip
    rows = [
        [
            f"{r['chunks']:,}", f"{r['index_s']:.2f}", f"{1000 * r['index_s'] / r['chunks']:.2f}",
            f"{r['again_s']:.2f}", f"{r['start_s']:.2f}", f"{1e6 * r['draw_s']:.0f}",
            f"{r['bytes'] / 1e6:.1f}",
        ]
        for r in result["rows"]
    ]  # fmt: skip
    return "\n".join([markdown(head, rows), "", *origin(result)])


def main(arguments: Sequence[str]) -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    return run_program("archive_scaling", arguments, parser, measure, scaling_table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
