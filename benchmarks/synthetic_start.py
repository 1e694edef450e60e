"""A start for networks whose published weights cannot be reached: training on synthetic organoids alone.

    python benchmarks/synthetic_start.py --recipe configs/organoid_mask2former_r50.yaml --out runs/start

Writes `images/` and `labels.json` (made once, from the seed), and trains the recipe's engine on them under
`training/`. No real image is looked at.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.runs import base_tree
from organoseg.core import Instances
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.io import write_instances


def spec_of(seed: int, index: int, size: int) -> SyntheticSpec:
    """The world of one image: sparse or crowded, small or large, clear or out of focus."""
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


def _make(job: tuple[int, int, int, Path]) -> tuple[str, Instances]:
    from PIL import Image as Pillow

    seed, index, size, folder = job
    name = f"synthetic_{index:05d}.png"
    item = make_image((seed, index), spec_of(seed, index, size), name)
    Pillow.fromarray(item.image.plane()).save(folder / name)
    return name, item.instances


def make_world(out: Path, images: int, size: int, seed: int) -> None:
    """`images/` and, when all are there, `labels.json`."""
    if (out / "labels.json").exists():
        return
    folder = out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(seed, index, size, folder) for index in range(images)]
    with ProcessPoolExecutor() as pool:
        write_instances(out / "labels.json", list(pool.map(_make, jobs, chunksize=16)))


def main(arguments: list[str] | None = None) -> int:
    """Make the world, then train."""
    from organoseg.training.run import train

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--recipe", type=Path, required=True, help="its model and training are taken")
    add("--out", type=Path, required=True)
    add("--images", type=int, default=3000)
    add("--size", type=int, default=448, help="side of an image, px")
    add("--seed", type=int, default=0)
    add("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    args = parser.parse_args(arguments)
    make_world(args.out, args.images, args.size, args.seed)
    tree: dict[str, Any] = base_tree(args.recipe, "supervised")
    place = {"annotations": "labels.json", "images": "images"}
    tree |= {"seed": args.seed, "data": {"labelled": place}}
    recipe, run = args.out / "recipe.yaml", args.out / "training"
    recipe.write_text(yaml.safe_dump(tree), encoding="utf-8")
    train(recipe, run, args.overrides, resume=run.exists())
    return 0


if __name__ == "__main__":
    sys.exit(main())
