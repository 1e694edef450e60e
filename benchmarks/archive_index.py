"""Cost of indexing against the size of the archive, on synthetic stores: `python benchmarks/archive_index.py`.

Each store has images of 100 chunks (100 time points of 64 x 64 px, one chunk a plane), so that 100,000 chunks are
100,000 planes and cells: the most that the index has to do per byte.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from organoseg.archive.catalogue import Catalogue
from organoseg.archive.index import index_stores

PLANES, SIDE = 100, 64


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
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def measure(chunks: int, folder: Path) -> dict[str, float]:
    """Index, index again with nothing new, open and load all cells."""
    store, out = folder / "store.zarr", folder / "lab.sqlite"
    make_store(store, chunks // PLANES)
    _, index, cpu = timed(lambda: index_stores([str(store)], out))
    _, again, _ = timed(lambda: index_stores([str(store)], out))
    catalogue, opened, _ = timed(lambda: Catalogue.open(out))
    _, images, _ = timed(lambda: catalogue.images)
    cells, load, _ = timed(catalogue.cells)
    size = out.stat().st_size
    shutil.rmtree(store)
    out.unlink()
    return {
        "chunks": chunks, "cells": len(cells), "index_s": index, "index_cpu_s": cpu,
        "cpu_ms_per_chunk": cpu / chunks * 1e3, "again_s": again, "open_s": opened + images,
        "cells_s": load, "bytes": size,
    }  # fmt: skip


def main() -> None:
    """Measure every size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    args = parser.parse_args()
    rows = []
    for size in args.sizes:
        with tempfile.TemporaryDirectory(prefix="organoseg-index-") as folder:
            rows.append(measure(size, Path(folder)))
        print("  ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()), flush=True)
    if args.out is not None:
        args.out.write_text(json.dumps({"seed": 0, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
