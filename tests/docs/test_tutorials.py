"""The commands of the tutorials run as they stand, in one folder, in the order of the site."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.tutorial import Block, blocks_of

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ("first_masks", "ten_labels", "review_loop", "plate_on_a_cluster")


def page(name: str) -> Path:
    return ROOT / "docs" / "tutorials" / f"{name}.md"


def test_every_tutorial_is_run() -> None:
    assert set(TUTORIALS) == {path.stem for path in page("any").parent.glob("*.md")}


@pytest.mark.parametrize("name", TUTORIALS)
def test_what_is_not_run_says_why(name: str) -> None:
    blocks = blocks_of(page(name))
    assert [b for b in blocks if b.reason is None]
    assert all(len(b.reason) > 10 for b in blocks if b.reason is not None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all: a tutorial goes on from the one before, as it says."""
    return tmp_path_factory.mktemp("tutorials")


def program(blocks: list[Block]) -> str:
    """A bash program of the blocks, in which `organoseg` is this checkout."""
    lines = [
        "set -eu -o pipefail",
        'organoseg() { "$PYTHON" -m organoseg "$@"; }',
        'python() { "$PYTHON" "$@"; }',
    ]
    for number, block in enumerate(blocks, start=1):
        if block.reason is not None:
            continue
        lines.append(f"echo '--- block {number}'")
        # head closes the pipe early, which pipefail must not take for a fault.
        lines.append(f"{{ {block.code}\n}} || true" if block.may_fail else block.code)
    return "\n".join(lines) + "\n"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", TUTORIALS)
def test_the_commands_run(name: str, folder: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    blocks = blocks_of(page(name))
    (folder / f"{name}.sh").write_text(program(blocks))
    environment = os.environ | {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "ORGANOSEG_OFFLINE": "1",
        "ORGANOSEG_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(
        [bash, f"{name}.sh"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
