"""One step of mutual distillation: its order, who teaches whom, what counts how much, and the same loss by hand."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from organoseg.core import Instances, Mask
from organoseg.distill.agreement import AgreementFilter
from organoseg.distill.cut_mix import Box, mix_pixels, mix_targets
from organoseg.distill.descent import Descent
from organoseg.distill.iteration import Rules
from organoseg.distill.labeller import Labeller
from organoseg.distill.mutual import Crossing, MutualIteration, MutualLabeller, crossed
from organoseg.distill.pseudo_labels import OrganoidFilter, PaperFilter
from organoseg.distill.schedule import Phase
from organoseg.distill.weights import freeze
from organoseg.models.pair import Pair
from organoseg.models.protocol import Target
from organoseg.models.registry import build_engine
from tests.distill.fakes import FakeEngine, LoggedSGD, organoids

SIDE = 32
PAPER = PaperFilter(0.7, 10)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def squares(*scores: float, at: int = 0) -> Instances:
    masks = [Mask(at, 8 * k, np.ones((8, 8), bool)) for k in range(len(scores))]
    return Instances.from_masks((SIDE, SIDE), masks, scores=list(scores))


class Step:
    """A pair of engines of two numbers, and one step of them."""

    def __init__(self, **more: Any) -> None:
        self.log: list[Any] = []
        self.students = Pair(FakeEngine("sa", self.log, 1.0), FakeEngine("sb", self.log, 2.0))
        self.teachers = Pair(FakeEngine("ta", self.log, 3.0), FakeEngine("tb", self.log, 4.0))
        freeze(self.teachers)
        for name, found in (("a", squares(0.9)), ("b", squares(0.8, 0.95))):
            self.teachers[name].found = lambda found=found: found
        self.students["a"].found = lambda: squares(0.99, at=16)
        self.students["b"].found = lambda: squares(0.75, 0.9, 0.71, at=20)
        self.optimiser = LoggedSGD(self.students.parameters(), self.log, lr=0.5)
        labeller = more.pop(
            "labeller", MutualLabeller(Labeller(PAPER), Labeller(PAPER), PAPER, "off")
        )
        self.iteration = MutualIteration(
            self.students, self.teachers, self.optimiser, labeller,
            Rules(1.5, 0.9, 1e9, 0.99), trace=self.log.append, **more,
        )  # fmt: skip

    def __call__(self, phase: Phase = Phase.MUTUAL, switching: bool = False) -> Any:
        pixels = torch.zeros(2, 1, SIDE, SIDE)
        target = [Target.labelled(organoids([1.0]))] * 2
        self.students.train()
        return self.iteration(
            phase, switching, lambda: (pixels + 10, pixels + 20), lambda: (pixels, target)
        )

    def taught(self, name: str) -> list[tuple[float, list[float]]]:
        """What a student saw: a pixel, and the scores of what it was taught there."""
        seen = self.students[name].seen
        return [(float(p.max()), t[0].instances.scores.tolist()) for p, t in seen]


def test_the_order_of_a_step() -> None:
    boxes = [(Box(0, 0, 16, 16),), ()]
    step = Step(boxes=lambda _: boxes, crossing=Crossing(1.0, Labeller(PAPER)))
    step()
    look = "gradient=False training=False"
    assert step.log == [
        "next.unlabelled", "next.labelled", "teacher.average", "teachers.label",
        f"tb.segment weak {look}", f"ta.segment weak {look}",
        "mix", "students.label", f"sb.segment strong {look}", f"sa.segment strong {look}",
        "student.labelled_a", "sa.losses labelled gradient=True",
        "student.labelled_b", "sb.losses labelled gradient=True",
        "student.unlabelled_a", "sa.losses strong gradient=True",
        "student.unlabelled_b", "sb.losses strong gradient=True",
        "student.cross_a", "sa.losses strong gradient=True",
        "student.cross_b", "sb.losses strong gradient=True",
        "backward", "clip", "step", "optimiser.step",
    ]  # fmt: skip
    assert step.students.training


def test_each_student_is_taught_by_the_others_teacher_and_by_the_other_student() -> None:
    step = Step(crossing=Crossing(1.0, Labeller(PAPER)))
    report = step()
    exactly = pytest.approx
    assert step.taught("a")[1:] == [(20, exactly([0.8, 0.95])), (20, exactly([0.75, 0.9, 0.71]))]
    assert step.taught("b")[1:] == [(20, exactly([0.9])), (20, exactly([0.99]))]
    assert len(report.pseudo) == 4


def test_what_counts_how_much_by_hand() -> None:
    """Of each number the gradient is 1 and 2 a branch: 1 + 1.5 + .5 branches, and half of it is a step."""
    step = Step(crossing=Crossing(0.5, Labeller(PAPER)))
    report = step()
    assert step.students["a"].weight.tolist() == [1 - 0.5 * 3, 2 - 0.5 * 6]
    assert step.students["b"].weight.tolist() == [2 - 0.5 * 3, 4 - 0.5 * 6]
    terms = {"a": (1 + 3, 4), "b": (2 + 3, 8)}
    assert report.total == pytest.approx(sum(3 * (a + b) for a, b in terms.values()))
    assert len(report.losses) == 12
    alone = Step()
    alone()
    assert alone.students["a"].weight.tolist() == [1 - 0.5 * 2.5, 2 - 0.5 * 5]


def test_each_teacher_is_the_average_of_its_own_student() -> None:
    step = Step()
    step()
    assert step.teachers["a"].weight.tolist() == pytest.approx([0.9 * 3 + 0.1, 0.9 * 6 + 0.2])
    assert step.teachers["b"].weight.tolist() == pytest.approx([0.9 * 4 + 0.2, 0.9 * 8 + 0.4])
    switched = Step()
    switched(switching=True)
    assert switched.teachers["a"].weight.tolist() == [1, 2]
    assert switched.teachers["b"].weight.tolist() == [2, 4]
    frozen = Step()
    frozen(Phase.BURN_IN)
    assert frozen.teachers["a"].weight.tolist() == [3, 6]


def test_labels_alone_ask_nobody() -> None:
    step = Step(crossing=Crossing(1.0, Labeller(PAPER)))
    step(Phase.TEACHER)
    assert not any("segment" in line for line in step.log)
    assert step.taught("a") == [(0, [1.0])]
    assert "next.unlabelled" not in step.log


def test_both_teachers_have_to_agree_where_they_are_asked_to() -> None:
    chosen = AgreementFilter(PAPER)
    step = Step(labeller=MutualLabeller(Labeller(PAPER), Labeller(chosen), chosen, "keep"))
    step()
    (_, (first, _)) = step.students["a"].seen[1]
    # Both teachers see the first square; the second one teacher b alone.
    assert first.instances.scores.tolist() == pytest.approx([0.85, 0.95])
    assert first.ignored.tolist() == [False, True]
    (_, (second, _)) = step.students["b"].seen[1]
    assert second.instances.scores.tolist() == pytest.approx([0.85, 0.95])
    assert second.ignored.tolist() == [False, True]


def compact(seed: int, width: int = 16) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        engine = build_engine("compact", (1,), {"width": width}, None)
        torch.nn.init.constant_(engine.network.score.bias, 2.0)  # so that it sees something
    return engine


class Small:
    """Batches of noise, and a pair of compact engines whose members differ in width."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.students, self.teachers = (
            Pair(compact(0), compact(1, 32)),
            Pair(compact(2), compact(3, 32)),
        )
        freeze(self.teachers)
        self.weak, self.strong, self.pixels = (
            torch.from_numpy(rng.standard_normal((3, 1, 64, 64), np.float32)) for _ in range(3)
        )
        square = Mask(10, 12, np.ones((20, 22), bool))
        self.labels = [Target.labelled(Instances.from_masks((64, 64), [square]))] * 3
        self.chosen = OrganoidFilter(accept=0.1, ignore=0.05)
        rest = (Box(0, 0, 32, 40), Box(40, 8, 60, 64))
        self.boxes: Sequence[Sequence[Box]] = [rest, (), rest]

    def step(self, descent: Descent) -> Any:
        looks = Labeller(self.chosen)
        optimiser = torch.optim.SGD(
            [p for p in self.students.parameters() if p.requires_grad], lr=0.0
        )
        return MutualIteration(
            self.students.train(), self.teachers, optimiser,
            MutualLabeller(looks, looks, self.chosen, "off"), Rules(1.5, 1.0, 1e9),
            boxes=lambda _: self.boxes, crossing=Crossing(0.7, looks), descent=descent,
        )(Phase.MUTUAL, False, lambda: (self.weak, self.strong), lambda: (self.pixels, self.labels))  # fmt: skip

    def naive(self) -> float:
        """The same loss, written down as the paper writes it."""
        a, b = (copy.deepcopy(self.students[n]) for n in "ab")
        ta, tb = self.teachers["a"], self.teachers["b"]
        mixed = mix_pixels(self.strong, self.boxes)

        def see(engine: Any, pixels: torch.Tensor) -> list[Target]:
            engine.eval()
            return [self.chosen(engine.segment(pixels[k : k + 1], 0.05)[0]) for k in range(3)]

        def loss(engine: Any, pixels: torch.Tensor, targets: list[Target]) -> float:
            return float(sum(engine.train().losses(pixels, targets).values()).detach())

        total = loss(a, self.pixels, self.labels) + loss(b, self.pixels, self.labels)
        for student, teacher in ((a, tb), (b, ta)):
            total += 1.5 * loss(student, mixed, mix_targets(see(teacher, self.weak), self.boxes))
        total += 0.7 * (loss(a, mixed, see(b, mixed)) + loss(b, mixed, see(a, mixed)))
        return total


def gradient(pair: Pair) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in pair.parameters() if p.grad is not None])


def test_the_loss_is_that_of_the_naive_way_in_parts_too() -> None:
    small = Small()
    expected = small.naive()
    whole = small.step(Descent(1e9))
    assert whole.total == pytest.approx(expected, rel=1e-4)
    assert whole.losses["unlabelled_a/dice"] > 0  # teachers taught something
    first = gradient(small.students)
    parts = small.step(Descent(1e9, parts=2))
    assert parts.total == pytest.approx(expected, rel=1e-4)
    assert float((gradient(small.students) - first).norm()) < 0.01 * float(first.norm())
    assert small.students["a"].normaliser is None


def test_a_look_at_the_other_student_leaves_modes_as_they_were() -> None:
    small = Small()
    for training in (True, False):
        small.students.train(training)
        found = crossed(small.students, small.strong, Labeller(small.chosen))
        assert {m.training for m in small.students.modules()} == {training}
        assert [len(found[n]) for n in "ab"] == [3, 3]
