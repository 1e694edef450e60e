"""A start without a label: training on synthetic organoids alone.

    python benchmarks/synthetic_start.py --out runs/start --recipe configs/organoid_mask2former_r50.yaml
    python benchmarks/synthetic_start.py --out runs/starter --world whole --images 3000 --set training.steps=4000

Writes `images/` and `labels.json` (made once, from the seed), and trains the recipe's engine (default: compact) on them
under `training/`. With `--validation N` so many other pictures, `validation/` and `validation.json`, say from which
score organoids are reported. No real image is looked at. The worlds of `WORLDS` grow: each has all that the one before
it has. `plain` is the world of the first version, from which the larger networks' starts were made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.runs import base_tree
from organoseg.core import Instances
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.dataset.world import World
from organoseg.io import write_instances

WHOLE = World()
_CAMERA = replace(
    WHOLE, typical=(15.0, 15.0), level=(0.5, 0.5), wall=(0.7, 0.7), thickness=(1.0, 1.0)
)
_DIRT = replace(
    _CAMERA, noise=(0.01, 0.01), soft=(0.5, 0.5), wide=0.0, compressed=0.0, gradient=(0.2, 0.2),
    vignette=(0.2, 0.2), oblique=(0.2, 0.2), rim=0.0, seam=0.0,
)  # fmt: skip
_DEPTH = replace(_DIRT, debris=(0, 0), clumps=0, blobs=0, bubble=0.0, strand=0.0)
_WALLS = replace(
    _DEPTH, overlap=(0, 0), clusters=(0, 0), defocus=(0.2, 0.2), focus=(0, 0), faint=0, side=(0, 0)
)
#: A growing world: walls and lumens; + overlap, clusters, height over the plane; + dirt, bubbles, strands;
#: + light, gel, seams, the camera; + sizes and contrasts.
WORLDS = {"walls": _WALLS, "depth": _DEPTH, "dirt": _DIRT, "camera": _CAMERA, "whole": WHOLE}


def spec_of(seed: int, index: int, size: int) -> SyntheticSpec:
    """The plain world's image: sparse or crowded, small or large, clear or out of focus."""
    rng = np.random.default_rng((seed, index, 1))
    smallest = float(rng.uniform(4, 9))
    largest = float(np.exp(rng.uniform(np.log(14), np.log(90))))
    room = size**2 / (np.pi * (0.5 * (smallest + largest)) ** 2)
    most = int(np.clip(rng.uniform(0.1, 0.7) * room, 2, 45))
    return SyntheticSpec(
        size=size,
        count=(max(most // 3, 1), most),
        radius=(smallest, max(largest, smallest + 4)),
        overlap=float(rng.uniform(0.05, 0.45)),
        kinds=tuple(rng.dirichlet((2.0, 3.0, 1.0)).tolist()),  # type: ignore[arg-type]
        defocus=float(rng.uniform(0.4, 2.2)),
        faint=int(rng.integers(0, 14)),
        debris=int(rng.integers(5, 70)),
        gradient=float(rng.uniform(0.05, 0.5)),
        vignette=float(rng.uniform(0.0, 0.5)),
        noise=float(rng.uniform(0.004, 0.03)),
    )


def specs(world: str, size: int) -> Callable[[int, int], SyntheticSpec]:
    """What makes an image's description of (seed, number)."""
    if world == "plain":
        return lambda seed, index: spec_of(seed, index, size)
    return replace(WORLDS[world], size=size).spec


def _make(job: tuple[str, int, int, int, Path]) -> tuple[str, Instances]:
    import tifffile
    from PIL import Image as Pillow

    world, seed, index, size, folder = job
    spec = specs(world, size)(seed, index)
    item = make_image((seed, index), spec, f"synthetic_{index:05d}")
    pixels = item.image.plane()
    name = f"{item.name}.{'tif' if pixels.dtype == np.uint16 else 'png'}"
    if pixels.dtype == np.uint16:
        tifffile.imwrite(folder / name, pixels, compression="zlib")
    else:
        Pillow.fromarray(pixels).save(folder / name)
    return name, item.instances


def make_world(
    out: Path,
    images: int,
    size: int,
    seed: int,
    world: str = "plain",
    processes: int | None = None,
    part: str = "",
) -> None:
    """`images/` and, when all are there, `labels.json`; of a ``part`` a folder and a file of its name.

    Numbers of a part's pictures are others: no picture is in two parts.
    """
    labels, folder = out / f"{part or 'labels'}.json", out / (part or "images")
    if labels.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    first = 1_000_000 if part else 0
    jobs = [(world, seed, index, size, folder) for index in range(first, first + images)]
    with ProcessPoolExecutor(processes) as pool:
        write_instances(labels, list(pool.map(_make, jobs, chunksize=16)))


def main(arguments: list[str] | None = None) -> int:
    """Make the world, then train."""
    from organoseg.training.run import train

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--recipe", type=Path, help="its model and training are taken (default: compact's)")
    add("--out", type=Path, required=True)
    add("--world", choices=("plain", *WORLDS), default="plain")
    add("--images", type=int, default=3000)
    add("--size", type=int, default=448, help="side of an image, px")
    add("--validation", type=int, default=0, metavar="N", help="further images for the threshold")
    add("--seed", type=int, default=0)
    add("--processes", type=int, help="that draw images (default: the cores)")
    add("--only-images", action="store_true", help="do not train")
    add("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    args = parser.parse_args(arguments)
    how = (args.size, args.seed, args.world, args.processes)
    make_world(args.out, args.images, *how)
    if args.validation:
        make_world(args.out, args.validation, *how, "validation")
    if args.only_images:
        return 0
    tree: dict[str, Any] = base_tree(args.recipe, "supervised")
    place = {"annotations": "labels.json", "images": "images"}
    tree |= {"seed": args.seed, "data": {"labelled": place}}
    if args.validation:
        tree["data"]["validation"] = {"annotations": "validation.json", "images": "validation"}
    recipe, run = args.out / "recipe.yaml", args.out / "training"
    recipe.write_text(yaml.safe_dump(tree), encoding="utf-8")
    train(recipe, run, args.overrides, resume=run.exists())
    return 0


if __name__ == "__main__":
    sys.exit(main())
