"""Every action in any order, with crashes, against a model of plain dictionaries."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from organoseg.core import Instances, Mask
from organoseg.io import write_instances
from organoseg.review import Organoid, ReviewSession, create_project

HEIGHT, WIDTH = 24, 28
#: 50 in the suite; 1000 by hand: ORGANOSEG_STATE_RUNS=1000.
RUNS = int(os.environ.get("ORGANOSEG_STATE_RUNS", "50"))


class Thing(NamedTuple):
    """An organoid, as the model sees it."""

    pixels: frozenset[tuple[int, int]]
    status: str
    category: int
    score: float
    edited: bool
    parents: tuple[int, ...]


class Picture:
    """What the model knows of one image; `done` and `undone` hold (number of the line, before, after)."""

    def __init__(self, things: dict[int, Thing]) -> None:
        self.now: tuple[dict[int, Thing], bool] = (things, False)
        self.top = max(things, default=0)
        self.done: list[tuple[int, Any, Any]] = []
        self.undone: list[tuple[int, Any, Any]] = []

    @property
    def things(self) -> dict[int, Thing]:
        return self.now[0]

    @property
    def complete(self) -> bool:
        return self.now[1]


def pixels(mask: Mask) -> frozenset[tuple[int, int]]:
    rows, columns = np.nonzero(mask.bits)
    return frozenset(zip((rows + mask.y).tolist(), (columns + mask.x).tolist(), strict=True))


def thing(organoid: Organoid) -> Thing:
    return Thing(
        pixels(organoid.mask), organoid.status, organoid.category, round(organoid.score, 5),
        organoid.edited, organoid.parents,
    )  # fmt: skip


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """A few rectangles, which may touch the border, part, or be a single pixel."""
    bits = np.zeros((HEIGHT, WIDTH), bool)
    for _ in range(draw(st.integers(1, 2))):
        y, x = draw(st.integers(0, HEIGHT - 1)), draw(st.integers(0, WIDTH - 1))
        bits[y : y + draw(st.integers(1, 9)), x : x + draw(st.integers(1, 9))] = True
    mask = Mask.from_bits(bits)
    assert mask is not None
    return mask


def begin(folder: Path) -> dict[str, str]:
    """Three images: overlapping organoids, one organoid, none. Returns their checksums."""
    images = folder / "images"
    images.mkdir()
    for number in range(3):
        plane = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8)
        tifffile.imwrite(images / f"{number}.tif", plane)
    block = np.ones((6, 7), bool)
    three = [Mask(2, 2, block), Mask(5, 5, block), Mask(14, 18, block)]
    several = Instances.from_masks((HEIGHT, WIDTH), three, scores=[0.9, 0.5, 0.25], ids=[4, 7, 9])
    one = several.select([0]).replace(ids=[12])
    found = [("0.tif", several), ("1.tif", one), ("2.tif", Instances.empty((HEIGHT, WIDTH)))]
    write_instances(folder / "found.json", found, {1: "organoid", 2: "cyst"})
    create_project(folder / "review", [images], predictions=folder / "found.json", model="m")
    return checksums(folder)


def checksums(folder: Path) -> dict[str, str]:
    files = [*(folder / "images").iterdir(), folder / "found.json"]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


class ReviewMachine(RuleBasedStateMachine):
    """One reviewer (at times another), with kills in the middle of writing."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.sums = begin(self.folder)
        self.session = ReviewSession.open(self.folder / "review", "Ada")
        self.keys = [p.key for p in self.session.project.pictures]
        self.model = {
            k: Picture({n: thing(o) for n, o in self.session.state(k).organoids.items()})
            for k in self.keys
        }
        self.lines = 0
        #: The model before each line, so that a crash can take the last one back.
        self.past: list[dict[str, Picture]] = []

    # -- the model ------------------------------------------------------------------------------

    @property
    def here(self) -> str:
        return self.session.place.image

    @property
    def picture(self) -> Picture:
        return self.model[self.here]

    def expect(self, things: dict[int, Thing], complete: bool | None = None) -> None:
        """A line was written, after which the present image is so."""
        self.past.append(copy.deepcopy(self.model))
        self.lines += 1
        picture = self.picture
        before = picture.now
        picture.now = (things, picture.complete if complete is None else complete)
        picture.top = max([picture.top, *things])
        picture.done.append((self.lines, before, picture.now))
        picture.undone.clear()

    def chosen(self, index: int) -> int:
        ids = sorted(self.picture.things)
        return ids[index % len(ids)]

    def can_edit(self) -> bool:
        return not self.picture.complete

    def has_some(self) -> bool:
        return self.can_edit() and bool(self.picture.things)

    # -- going about ----------------------------------------------------------------------------

    @rule(index=st.integers(0, 2))
    def go(self, index: int) -> None:
        self.session.go(self.keys[index])
        assert self.session.place.image == self.keys[index]

    @rule(back=st.booleans())
    def walk(self, back: bool) -> None:
        place = self.session.previous() if back else self.session.next()
        if place is not None and place.organoid is not None and not back:
            assert self.picture.things[place.organoid].status == "unseen"

    # -- acting -----------------------------------------------------------------------------------

    @precondition(has_some)
    @rule(index=st.integers(0, 9), status=st.sampled_from(["accepted", "rejected"]))
    def decide(self, index: int, status: str) -> None:
        number, things = self.chosen(index), dict(self.picture.things)
        act = self.session.accept if status == "accepted" else self.session.reject
        changed = things[number].status != status
        outcome = act(number)
        assert (outcome.number > 0) == changed
        if changed:
            assert outcome.changed == (number,)
            self.expect({**things, number: things[number]._replace(status=status)})

    @precondition(has_some)
    @rule(index=st.integers(0, 9), mask=masks())
    def replace(self, index: int, mask: Mask) -> None:
        number, things = self.chosen(index), dict(self.picture.things)
        new = things[number]._replace(pixels=pixels(mask), status="accepted", edited=True)
        outcome = self.session.replace(mask, number)
        if pixels(mask) == things[number].pixels:
            new = things[number]._replace(status="accepted")
        if outcome.number:
            self.expect({**things, number: new})
        else:
            assert new == things[number]

    @precondition(can_edit)
    @rule(mask=masks(), category=st.sampled_from([1, 2]))
    def draw(self, mask: Mask, category: int) -> None:
        things, number = dict(self.picture.things), self.picture.top + 1
        outcome = self.session.draw(mask, category)
        assert outcome.selected == number
        made = Thing(pixels(mask), "accepted", category, 1.0, True, ())
        self.expect({**things, number: made})

    @precondition(has_some)
    @rule(index=st.integers(0, 9), parts=st.lists(masks(), min_size=2, max_size=3))
    def split(self, index: int, parts: list[Mask]) -> None:
        number, things = self.chosen(index), dict(self.picture.things)
        old, top = things.pop(number), self.picture.top
        self.session.split(parts, number)
        for k, part in enumerate(parts, start=1):
            made = Thing(pixels(part), "accepted", old.category, old.score, True, (number,))
            things[top + k] = made
        self.expect(things)

    @precondition(lambda self: self.can_edit() and len(self.picture.things) > 1)
    @rule(first=st.integers(0, 9), second=st.integers(0, 9))
    def merge(self, first: int, second: int) -> None:
        a, b = self.chosen(first), self.chosen(second)
        if a == b:
            return
        things, top = dict(self.picture.things), self.picture.top
        one, two = things.pop(a), things.pop(b)
        best = max((one, a), (two, b), key=lambda pair: (pair[0].score, -pair[1]))[0]
        self.session.merge([a, b])
        both = one.pixels | two.pixels
        things[top + 1] = Thing(both, "accepted", best.category, best.score, True, (a, b))
        self.expect(things)

    @precondition(has_some)
    @rule(index=st.integers(0, 9))
    def delete(self, index: int) -> None:
        number, things = self.chosen(index), dict(self.picture.things)
        outcome = self.session.delete(number)
        assert number in outcome.changed
        del things[number]
        self.expect(things)

    @precondition(has_some)
    @rule(index=st.integers(0, 9), category=st.sampled_from([1, 2]))
    def set_class(self, index: int, category: int) -> None:
        number, things = self.chosen(index), dict(self.picture.things)
        outcome = self.session.set_class(category, number)
        changed = things[number].category != category
        assert (outcome.number > 0) == changed
        if changed:
            self.expect({**things, number: things[number]._replace(category=category)})

    @precondition(can_edit)
    @rule()
    def complete(self) -> None:
        things = self.picture.things
        self.session.complete(accept_rest=True)
        decided = {
            n: t._replace(status="accepted") if t.status == "unseen" else t
            for n, t in things.items()
        }
        self.expect(decided, True)

    @precondition(lambda self: self.picture.complete)
    @rule()
    def reopen(self) -> None:
        self.session.reopen()
        self.expect(self.picture.things, False)

    @rule(times=st.integers(1, 4), again=st.booleans())
    def undo_or_redo(self, times: int, again: bool) -> None:
        for _ in range(times):
            stacks = [(k, p.undone if again else p.done) for k, p in self.model.items()]
            outcome = self.session.redo() if again else self.session.undo()
            tops = [(stack[-1][0], key) for key, stack in stacks if stack]
            assert (outcome is None) == (not tops)
            if outcome is None:
                return
            key = max(tops)[1]
            assert outcome.image == key
            self.past.append(copy.deepcopy(self.model))
            self.lines += 1
            picture = self.model[key]
            source, target = (
                (picture.undone, picture.done) if again else (picture.done, picture.undone)
            )
            _, before, after = source.pop()
            picture.now = after if again else before
            target.append((self.lines, before, after))

    # -- crashing -----------------------------------------------------------------------------------

    @rule(share=st.floats(0, 1, exclude_max=True), reviewer=st.sampled_from(["Ada", "Ben"]))
    def crash(self, share: float, reviewer: str) -> None:
        """The program ends while the last line is being written, of which ``share`` is lost."""
        self.session.close()
        journal = self.folder / "review" / "journal.jsonl"
        data = journal.read_bytes()
        last = data.rstrip(b"\n").rfind(b"\n") + 1
        lost = int(share * (len(data) - last))
        if lost and self.lines:
            journal.write_bytes(data[:-lost])
            self.model = self.past.pop()
            self.lines -= 1
        self.session = ReviewSession.open(self.folder / "review", reviewer)
        assert not self.session.read_only

    # -- what always holds --------------------------------------------------------------------------

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "session"):
            return
        for key in self.keys:
            state, picture = self.session.state(key), self.model[key]
            assert {n: thing(o) for n, o in state.organoids.items()} == picture.things
            assert state.complete == picture.complete
        assert len(self.session.history) == self.lines
        place = self.session.place
        assert place.organoid is None or place.organoid in self.picture.things

    def teardown(self) -> None:
        if not hasattr(self, "session"):
            return
        self.session.close()
        # A second opening from the file alone, and nothing of the user's was touched.
        with ReviewSession.open(self.folder / "review", "Cy") as session:
            self.session = session
            self.same()
        assert checksums(self.folder) == self.sums
        shutil.rmtree(self.folder)


TestReview = ReviewMachine.TestCase
TestReview.settings = settings(
    max_examples=RUNS,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
