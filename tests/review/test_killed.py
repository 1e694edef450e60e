"""kill -9 in the middle of a review: at most one action is lost, and the images are as they were."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from organoseg.core import Instances, Mask
from organoseg.io import write_instances
from organoseg.review import ReviewSession, create_project

#: 4 in the suite; 50 by hand: ORGANOSEG_KILLS=50.
KILLS = int(os.environ.get("ORGANOSEG_KILLS", "4"))
ACTIONS = 200
SIDE = 64

#: A reviewer who never rests. Each line of its output is an action that has returned.
WORKER = """
import sys
import numpy as np
from organoseg.core import Mask
from organoseg.review import ReviewSession
session = ReviewSession.open(sys.argv[1], "Ada")
assert not session.read_only, session.notice
rng = np.random.default_rng(int(sys.argv[2]))
print("ready", flush=True)
for step in range(int(sys.argv[3])):
    ids = list(session.state().organoids)
    y, x = rng.integers(0, 40, 2).tolist()
    mask = Mask(y, x, np.ones(rng.integers(3, 20, 2).tolist(), bool))
    turn = step % 7
    if turn == 0 or len(ids) < 2:
        session.draw(mask)
    elif turn == 1:
        session.replace(mask, ids[0])
    elif turn == 2:
        session.merge(ids[:2])
    elif turn == 3:
        session.split([mask, Mask(y, x, np.ones((2, 2), bool))], ids[0])
    elif turn == 4:
        session.undo()
    elif turn == 5:
        session.redo() or session.draw(mask)
    else:
        session.delete(ids[0])
    print(len(session.history), flush=True)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    (folder / "images").mkdir()
    plane = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
    tifffile.imwrite(folder / "images" / "a.tif", plane)
    block = np.ones((9, 9), bool)
    found = Instances.from_masks((SIDE, SIDE), [Mask(5, 5, block), Mask(30, 30, block)])
    write_instances(folder / "found.json", [("a.tif", found)])
    create_project(folder / "review", [folder / "images"], predictions=folder / "found.json")
    return folder


def state_of(folder: Path) -> tuple[int, list[tuple[int, str, tuple[int, ...]]]]:
    """Lines of the journal, and organoids as they stand."""
    with ReviewSession.open(folder / "review", "Ben") as session:
        assert not session.read_only, "the lock of a killed viewer is free"
        organoids = session.state().organoids.values()
        return len(session.history), [(o.id, o.status, o.mask.box) for o in organoids]


def killed_after(folder: Path, actions: int, seed: int) -> int:
    """Run a reviewer, end it without warning after some actions; lines of the journal when the last one returned."""
    command = [sys.executable, "-c", WORKER, str(folder / "review"), str(seed), str(ACTIONS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        said = [worker.stdout.readline() for _ in range(actions)]
        worker.kill()
        # What it still said before it died had returned, too.
        said += worker.stdout.readlines()
    return int(said[-1])


def test_at_most_one_action_is_lost(project: Path) -> None:
    picture = project / "images" / "a.tif"
    checksum = hashlib.sha256(picture.read_bytes()).hexdigest()
    rng = random.Random(0)
    for seed in range(KILLS):
        returned = killed_after(project, rng.randrange(1, ACTIONS), seed)
        kept, organoids = state_of(project)
        # The one more is an action that was written but had no time to say so.
        assert returned <= kept <= returned + 1
        assert state_of(project) == (kept, organoids)
    assert hashlib.sha256(picture.read_bytes()).hexdigest() == checksum


def test_a_second_viewer_only_looks(project: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(project / "review"), "0", "1"]
    with ReviewSession.open(project / "review", "Ada Lovelace") as session:
        before = len(session.history)
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode != 0
        assert "Ada Lovelace" in second.stderr, "who has it"
        assert "you can only look" in second.stderr
        assert len(session.history) == before
        with ReviewSession.open(project / "review", "Ben") as looking:
            assert looking.read_only
            assert looking.state().organoids.keys() == session.state().organoids.keys()
