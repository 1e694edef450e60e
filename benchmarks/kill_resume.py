"""Kill a guided run (SIGKILL) at random steps, resume it, and compare it with a run that was left alone.

    python benchmarks/kill_resume.py --out runs/kill_resume --kills 20

Writes ``kill_resume.json``: the steps at which runs were killed, and whether the final weights of the network, of its
running average and of the optimiser are bit-equal to the undisturbed run's. Everything runs on the processor with one
thread, on synthetic organoids. Exit code 1 when a bit differs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DEADLINE = 600  # seconds for one process
KILLS_A_RUN = 4


def child(recipe: Path, out: Path) -> None:
    """Train or go on, and say each step on stdout as soon as it is done."""
    from organoseg.training.run import RECIPE, train

    def report(event: str, facts: Mapping[str, Any]) -> None:
        if event == "step":
            print(facts["step"], flush=True)

    train(recipe, out, resume=(out / RECIPE).exists(), reporter=report)


def run(recipe: Path, out: Path, kill_at: int | None) -> bool:
    """One process, killed once it has said step ``kill_at``; True when it came to its end."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", str(recipe), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        timer = threading.Timer(DEADLINE, process.kill)
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            if kill_at is not None and int(line) >= kill_at:
                process.kill()
                break
        code = process.wait()
        timer.cancel()
    if code not in (0, -9):
        raise RuntimeError(f"the run failed with exit code {code}")
    if code == -9 and kill_at is None:
        raise RuntimeError(f"the run was not done after {DEADLINE} seconds")
    return code == 0


def killed(recipe: Path, out: Path, points: Sequence[int]) -> None:
    """A run that is killed at each of these steps and resumed each time, to its end."""
    for point in sorted(points):
        if run(recipe, out, point):  # it was faster than the signal
            return
    run(recipe, out, None)


def differences(a: Path, b: Path) -> list[str]:
    """Names of the tensors of two finished runs that are not bit-equal: both models and the last checkpoint."""
    from safetensors.numpy import load_file

    last = sorted(p.name for p in (a / "checkpoints").glob("step-*"))[-1]
    found = []
    for part in ("model/weights.safetensors", "student/weights.safetensors", f"checkpoints/{last}"):
        ours, theirs = load_file(a / part), load_file(b / part)
        found += [f"{part}:{k}" for k in sorted(ours.keys() ^ theirs.keys())]
        found += [
            f"{part}:{k}"
            for k in sorted(ours.keys() & theirs.keys())
            if ours[k].tobytes() != theirs[k].tobytes()
        ]
    return found


def make_recipe(folder: Path, steps: int) -> Path:
    """A small guided run with every stage, the guard and the calibration, on synthetic organoids."""
    import yaml
    from PIL import Image as Pillow

    from organoseg.dataset.synthetic import SyntheticSpec, make_image
    from organoseg.io import write_instances

    spec = SyntheticSpec(size=128, count=(3, 8), radius=(8, 24))
    for name, numbers in (
        ("labelled", range(4)),
        ("validation", range(4, 6)),
        ("archive", range(6, 14)),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        items = [make_image(n, spec, name=f"{n}.png") for n in numbers]
        for item in items:
            Pillow.fromarray(item.image.pixels).save(folder / name / item.name)
        write_instances(folder / f"{name}.json", [(i.name, i.instances) for i in items])
    labelled, validation = (
        {"annotations": str(folder / f"{n}.json"), "images": str(folder / n)}
        for n in ("labelled", "validation")
    )
    archive = str(folder / "archive")
    tree = {
        "data": {"labelled": labelled, "validation": validation, "unlabelled": archive},
        "model": {"encoder_weights": None, "options": {"width": 16, "max_instances": 50}},
        "method": {"name": "guided", "teacher_steps": steps // 3, "refine": 0.2, "half_life": 4},
        "training": {
            "steps": steps - steps // 3, "batch": 2, "warmup": 3, "half_life": 4, "validate_every": 7,
            "checkpoint_every": 3, "device": "cpu", "threads": 1, "augmentation": {"crop": 96},
        },
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def benchmark(out: Path, kills: int, steps: int, seed: int) -> dict[str, Any]:
    """All of it; the runs stay in ``out`` for a look."""
    import torch

    start, chance = time.monotonic(), random.Random(seed)  # noqa: S311 - where to kill is no secret
    recipe = make_recipe(out / "data", steps)
    run(recipe, out / "undisturbed", None)
    rows = []
    while (left := kills - sum(len(row["killed_at"]) for row in rows)) > 0:
        points = sorted(chance.sample(range(1, steps), min(KILLS_A_RUN, left)))
        folder = out / f"killed_{len(rows):02d}"
        killed(recipe, folder, points)
        rows.append({"killed_at": points, "different": differences(out / "undisturbed", folder)})
        print(f"killed at {points}: {len(rows[-1]['different'])} tensors differ", flush=True)
    return {
        "kills": kills,
        "steps": steps,
        "seed": seed,
        "bit_equal": all(not row["different"] for row in rows),
        "runs": rows,
        "seconds": round(time.monotonic() - start, 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "torch": torch.__version__,
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="folder that must not exist yet")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return 0
    if args.out is None or args.out.exists():
        parser.error("--out must name a folder that does not exist yet")
    result = benchmark(args.out, args.kills, args.steps, args.seed)
    path = args.out / "kill_resume.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{args.kills} kills, bit-equal: {result['bit_equal']}; see {path}")
    return 0 if result["bit_equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
