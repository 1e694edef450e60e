"""Any sequence of actions, undos, crashes and restarts against the simplest model that could be right."""

from __future__ import annotations

import copy
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from organoseg.core import Mask, UsageError
from organoseg.review import ReviewSession
from organoseg.review.state import Organoid
from tests.review.small import SIDE, hashes, make_project, square

RUNS = int(os.environ.get("ORGANOSEG_REVIEW_RUNS", "50"))
IMAGES = 2
Pixels = frozenset[tuple[int, int]]


def pixels(mask: Mask) -> Pixels:
    rows, columns = np.nonzero(mask.bits)
    return frozenset(zip((rows + mask.y).tolist(), (columns + mask.x).tolist(), strict=True))


class Model:
    """One image: plain dictionaries, and a copy of everything for every step that can be undone."""

    def __init__(self, organoids: dict[int, Organoid]) -> None:
        self.now: dict[str, Any] = {
            "organoids": {n: (pixels(o.mask), o.status, o.category) for n, o in organoids.items()},
            "complete": False,
        }
        self.past: list[tuple[int, dict[str, Any]]] = []
        self.future: list[tuple[int, dict[str, Any]]] = []


class Review(RuleBasedStateMachine):
    """The session on one side, `Model` on the other."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.project = make_project(
            self.root, IMAGES, organoids=3, classes={1: "round", 2: "budding"}
        )
        self.sources = hashes(self.root / "images")
        self.session = ReviewSession.open(self.project, "anna")
        self.keys = [p.key for p in self.project.pictures]
        self.models = {k: Model(self.session.state(k).organoids) for k in self.keys}
        self.lines = 0

    # -- helpers ---------------------------------------------------------------------------------

    def at(self, image: int, data: st.DataObject) -> tuple[Model, list[int]]:
        key = self.keys[image]
        self.session.go(key)
        model = self.models[key]
        return model, sorted(model.now["organoids"])

    def done(self, model: Model, number: int, **changes: Any) -> None:
        """The session did something in line ``number``; 0 means that there was nothing to do."""
        if number:
            self.lines += 1
            assert number == self.lines
            model.past.append((number, copy.deepcopy(model.now)))
            model.future.clear()
            model.now = {**model.now, **changes}

    def edited(self, model: Model, **organoids: Any) -> dict[int, Any]:
        table = dict(model.now["organoids"])
        for name, value in organoids.items():
            number = int(name[1:])
            if value is None:
                del table[number]
            else:
                table[number] = value
        return table

    def refused(self, model: Model, action: Any) -> bool:
        """A complete image refuses edits."""
        if not model.now["complete"]:
            return False
        try:
            action()
        except UsageError:
            return True
        raise AssertionError("a complete image was edited")

    # -- actions ---------------------------------------------------------------------------------

    @rule(image=st.integers(0, IMAGES - 1), keep=st.booleans(), data=st.data())
    def decide(self, image: int, keep: bool, data: st.DataObject) -> None:
        model, ids = self.at(image, data)
        if not ids:
            return
        n = data.draw(st.sampled_from(ids))
        action = self.session.accept if keep else self.session.reject
        if self.refused(model, lambda: action(n)):
            return
        bits, _, category = model.now["organoids"][n]
        table = self.edited(
            model, **{f"_{n}": (bits, "accepted" if keep else "rejected", category)}
        )
        self.done(model, action(n).number, organoids=table)

    @rule(
        image=st.integers(0, IMAGES - 1),
        y=st.integers(0, SIDE - 8),
        x=st.integers(0, SIDE - 8),
        size=st.integers(1, 8),
        new=st.booleans(),
        data=st.data(),
    )
    def paint(self, image: int, y: int, x: int, size: int, new: bool, data: st.DataObject) -> None:
        model, ids = self.at(image, data)
        mask = square(y, x, size)
        n = None if new or not ids else data.draw(st.sampled_from(ids))
        action = (
            (lambda: self.session.draw(mask))
            if n is None
            else (lambda: self.session.replace(mask, n))
        )
        if self.refused(model, action):
            return
        category = 1 if n is None else model.now["organoids"][n][2]
        outcome = action()
        number = outcome.selected if n is None else n
        table = self.edited(model, **{f"_{number}": (pixels(mask), "accepted", category)})
        self.done(model, outcome.number, organoids=table)

    @rule(image=st.integers(0, IMAGES - 1), data=st.data())
    def split(self, image: int, data: st.DataObject) -> None:
        model, ids = self.at(image, data)
        ids = [n for n in ids if self.session.state().organoids[n].mask.bits.shape[0] > 1]
        if not ids:
            return
        n = data.draw(st.sampled_from(ids))
        mask = self.session.state().organoids[n].mask
        parts = [
            Mask.from_bits(mask.bits[:1], mask.y, mask.x),
            Mask.from_bits(mask.bits[1:], mask.y + 1, mask.x),
        ]
        whole = [p for p in parts if p is not None]
        if len(whole) < 2 or self.refused(model, lambda: self.session.split(whole, n)):
            return
        category = model.now["organoids"][n][2]
        outcome = self.session.split(whole, n)
        _, first, second = outcome.changed
        made = {
            f"_{i}": (pixels(p), "accepted", category)
            for i, p in zip((first, second), whole, strict=True)
        }
        self.done(model, outcome.number, organoids=self.edited(model, **{f"_{n}": None}, **made))

    @rule(image=st.integers(0, IMAGES - 1), data=st.data())
    def merge(self, image: int, data: st.DataObject) -> None:
        model, ids = self.at(image, data)
        if len(ids) < 2:
            return
        chosen = data.draw(st.lists(st.sampled_from(ids), min_size=2, max_size=3, unique=True))
        if self.refused(model, lambda: self.session.merge(chosen)):
            return
        outcome = self.session.merge(chosen)
        old = [model.now["organoids"][n] for n in chosen]
        bits = frozenset().union(*(o[0] for o in old))
        made = self.session.state().organoids[outcome.selected or 0]
        assert made.category in {o[2] for o in old}
        table = self.edited(
            model,
            **{f"_{n}": None for n in chosen},
            **{f"_{made.id}": (bits, "accepted", made.category)},
        )
        self.done(model, outcome.number, organoids=table)

    @rule(image=st.integers(0, IMAGES - 1), category=st.sampled_from([1, 2, None]), data=st.data())
    def delete_or_class(self, image: int, category: int | None, data: st.DataObject) -> None:
        model, ids = self.at(image, data)
        if not ids:
            return
        n = data.draw(st.sampled_from(ids))

        def action() -> Any:
            return (
                self.session.delete(n) if category is None else self.session.set_class(category, n)
            )

        if self.refused(model, action):
            return
        bits, status, _ = model.now["organoids"][n]
        value = None if category is None else (bits, status, category)
        self.done(model, action().number, organoids=self.edited(model, **{f"_{n}": value}))

    @rule(image=st.integers(0, IMAGES - 1), data=st.data())
    def complete(self, image: int, data: st.DataObject) -> None:
        model, _ = self.at(image, data)
        if self.refused(model, lambda: self.session.complete(accept_rest=True)):
            return
        table = {
            n: (bits, "accepted" if status == "unseen" else status, category)
            for n, (bits, status, category) in model.now["organoids"].items()
        }
        outcome = self.session.complete(accept_rest=True)
        self.done(model, outcome.number, organoids=table, complete=True)

    @rule(image=st.integers(0, IMAGES - 1), data=st.data())
    def reopen(self, image: int, data: st.DataObject) -> None:
        model, _ = self.at(image, data)
        self.done(model, self.session.reopen().number, complete=False)

    @rule(times=st.integers(1, 3))
    def undo(self, times: int) -> None:
        for _ in range(times):
            self.turn(True)

    @rule(times=st.integers(1, 3))
    def redo(self, times: int) -> None:
        for _ in range(times):
            self.turn(False)

    def turn(self, back: bool) -> None:
        waiting = [(m.past if back else m.future) for m in self.models.values()]
        tops = [(stack[-1][0], k) for stack, k in zip(waiting, self.keys, strict=True) if stack]
        outcome = self.session.undo() if back else self.session.redo()
        if not tops:
            assert outcome is None
            return
        assert outcome is not None
        assert outcome.image == max(tops)[1]
        self.lines += 1
        model = self.models[outcome.image]
        source, target = (model.past, model.future) if back else (model.future, model.past)
        _, before = source.pop()
        target.append((self.lines, model.now))
        model.now = before

    # -- accidents -------------------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        self.session.close()
        self.session = ReviewSession.open(self.project.folder, "ben")

    @rule(junk=st.binary(min_size=1, max_size=40).filter(lambda b: b"\n" not in b))
    def crash_while_writing(self, junk: bytes) -> None:
        """The program ends in the middle of a line that was never acknowledged."""
        self.session.close()
        with self.project.journal_path.open("ab") as handle:
            handle.write(b'{"n":' + junk)
        self.session = ReviewSession.open(self.project.folder, "anna")
        assert "half written" in self.session.notice

    @precondition(lambda self: self.lines > 0)
    @rule()
    def look_in_from_elsewhere(self) -> None:
        with ReviewSession.open(self.project.folder) as other:
            assert other.read_only
            for key in self.keys:
                self.compare(other, key)

    # -- what must hold --------------------------------------------------------------------------

    def compare(self, session: ReviewSession, key: str) -> None:
        state, model = session.state(key), self.models[key]
        shown = {n: (pixels(o.mask), o.status, o.category) for n, o in state.organoids.items()}
        assert shown == model.now["organoids"]
        assert state.complete == model.now["complete"]

    @invariant()
    def both_agree(self) -> None:
        if hasattr(self, "session"):
            for key in self.keys:
                self.compare(self.session, key)

    def teardown(self) -> None:
        if hasattr(self, "session"):
            self.session.close()
            with ReviewSession.open(self.project.folder) as again:
                for key in self.keys:
                    self.compare(again, key)
            assert hashes(self.root / "images") == self.sources
            self.folder.cleanup()


Review.TestCase.settings = settings(
    max_examples=RUNS,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestReview = Review.TestCase
