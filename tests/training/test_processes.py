"""A run in two processes is the run in one, and goes on exactly where it was killed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kill_resume import differences
from organoseg.training import checkpoint as files
from tests.training.tiny import recipe, write_recipe

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
ROOT = Path(__file__).resolve().parents[2]


def run(processes: int, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """`tests.training.together` in so many processes."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    many = start if processes > 1 else []
    words = [sys.executable, *many, "-m", "tests.training.together", *map(str, arguments)]
    return subprocess.run(
        words, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )


def steps(log: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture(scope="module")
def two(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe with every stage, and the folder of its undisturbed run in two processes."""
    folder = tmp_path_factory.mktemp("two")
    tree = recipe(
        data,
        method={"teacher_steps": 2, "unlabelled_batch": 2, "pool": 2, "accept": 0.0, "ignore": 0.0},
        training={"steps": 4, "batch": 2, "precision": "fp32", "checkpoint_every": 1,
                  "validate_every": 3},
    )  # fmt: skip
    path = write_recipe(folder / "recipe.yaml", tree)
    done = run(2, path, folder / "run", folder / "log")
    assert done.returncode == 0, done.stderr
    return path, folder / "run"


def test_two_processes_have_the_losses_of_one_with_their_common_batch(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    path, whole = two
    done = run(1, path, tmp_path / "run", tmp_path / "log")
    assert done.returncode == 0, done.stderr
    one, both = steps(tmp_path / "log.0"), steps(whole.parent / "log.0")
    assert both == steps(whole.parent / "log.1")  # and both know them
    assert len(one) == len(both) == 6
    assert [s["total"] for s in both] == pytest.approx([s["total"] for s in one], rel=1e-5)
    assert both[0]["gradient"] == pytest.approx(one[0]["gradient"], rel=1e-5)
    assert json.loads((whole / "result.json").read_text())["seconds"]["processes"] == 2


def test_a_process_that_dies_ends_the_run_and_resumed_it_has_the_same_bits(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    path, whole = two
    died = run(2, path, tmp_path / "run", tmp_path / "log", 4)
    assert died.returncode != 0
    assert "SIGKILL" in died.stderr or "exitcode  : -9" in died.stderr
    assert files.latest(tmp_path / "run" / "checkpoints").name == "step-00000004.safetensors"
    done = run(2, path, tmp_path / "run", tmp_path / "log")
    assert done.returncode == 0, done.stderr
    assert differences(whole, tmp_path / "run") == []


def test_another_number_of_processes_is_refused(two: tuple[Path, Path], tmp_path: Path) -> None:
    path, whole = two
    done = run(1, path, whole, tmp_path / "log")
    assert done.returncode != 0
    assert "started with 2 processes and is resumed with 1" in done.stderr
