"""kill -9 at random points: at most the action that was under way is lost, and recovery is quick."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from organoseg.review import ReviewSession
from organoseg.review.journal import Journal, read_journal
from tests.review.small import hashes, make_project

KILLS = int(os.environ.get("ORGANOSEG_REVIEW_KILLS", "4"))

# Says after every action how many it has done, so that the parent knows what had been promised.
SCRIPT = textwrap.dedent(
    """
    import os, sys
    import numpy as np
    from organoseg.core import Mask
    from organoseg.review import ReviewSession

    session = ReviewSession.open(sys.argv[1], "anna")
    assert not session.read_only, session.notice
    rng = np.random.default_rng(int(sys.argv[2]))
    for step in range(200):
        kind = step % 5
        if kind == 0:
            session.draw(Mask(int(rng.integers(40)), int(rng.integers(40)), np.ones((9, 7), bool)))
        elif kind == 1:
            bits = rng.random((20, 20)) > 0.4
            session.replace(Mask.from_bits(bits, 3, 3))
        elif kind == 2:
            session.undo()
        elif kind == 3:
            session.redo()
        else:
            session.set_class(1 + step // 5 % 2)
        os.write(1, b"%d\\n" % len(session.history))
    """
)


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is of Unix")
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_review_loses_at_most_the_action_under_way(tmp_path: Path, seed: int) -> None:
    project = make_project(tmp_path, 1, classes={1: "round", 2: "budding"})
    before = hashes(tmp_path / "images")
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(project.folder), str(seed)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    promised = 0
    for _ in range(random.Random(seed).randint(1, 199)):
        line = process.stdout.readline()
        assert line, "the script ended early"
        promised = int(line)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    promised = int(rest[-1]) if rest else promised
    with ReviewSession.open(project.folder, "ben") as session:
        assert not session.read_only, "the lock outlived its holder"
        assert promised <= len(session.history) <= promised + 1
        session.state()
        session.accept(next(iter(session.state().organoids)))
    assert hashes(tmp_path / "images") == before


def test_ten_thousand_actions_come_back_whole(tmp_path: Path) -> None:
    """The time is measured by benchmarks/review_latency.py; here only that nothing is lost."""
    project = make_project(tmp_path, 1)
    with ReviewSession.open(project) as session:
        numbers = list(session.state().organoids)
        for step in range(10_000):
            (session.accept if step // 4 % 2 else session.reject)(numbers[step % 4])
        expected = {n: o.status for n, o in session.state().organoids.items()}
    with ReviewSession.open(project.folder) as session:
        assert {n: o.status for n, o in session.state().organoids.items()} == expected
        assert (
            len(session.history)
            == len(read_journal(project.journal_path, project.id).lines)
            == 10_000
        )


def test_a_journal_that_was_copied_without_its_end_still_opens(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    with ReviewSession.open(project) as session:
        session.accept()
        session.next()
        session.reject()
    data = project.journal_path.read_bytes()
    project.journal_path.write_bytes(data[:-20])
    with ReviewSession.open(project.folder) as session:
        assert len(session.history) == 1
        assert "half written" in session.notice
    assert Journal(project.journal_path, project.id).aside is None
