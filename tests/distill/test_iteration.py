"""The order of one step of guided distillation, on an engine that is not ours (methods.md, 1.2 to 1.4)."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from organoseg.core import RunError
from organoseg.distill.iteration import Iteration, Rules
from organoseg.distill.labeller import Labeller
from organoseg.distill.pseudo_labels import OrganoidFilter, PaperFilter
from organoseg.distill.schedule import Phase
from organoseg.distill.weights import freeze
from organoseg.models.protocol import Segmenter, Target
from tests.distill.fakes import SIDE, FakeEngine, LoggedSGD, organoids

WEAK = torch.full((2, 1, SIDE, SIDE), 10.0)
STRONG = torch.full((2, 1, SIDE, SIDE), 20.0)
LABELLED = torch.full((3, 1, SIDE, SIDE), 1.0)
TARGETS = [Target.labelled(organoids([1.0])) for _ in range(3)]


class Bench:
    """A student at 1, a teacher at 5, and everything that happens to them in one list."""

    def __init__(self, rules: Rules | None = None, average: bool = False, **more: Any) -> None:
        self.log: list[Any] = []
        self.student = FakeEngine("student", self.log, 1.0)
        self.teacher = freeze(FakeEngine("teacher", self.log, 5.0))
        self.average = freeze(FakeEngine("average", self.log, 3.0)) if average else None
        self.optimiser = LoggedSGD(self.student.parameters(), self.log)
        self.iteration = Iteration(
            self.student, self.teacher, self.optimiser,  # type: ignore[arg-type]
            more.pop("labeller", Labeller(PaperFilter())),
            rules or Rules(unlabelled_weight=2.0, decay=0.9, clip=1e9, average_decay=0.9),
            average=self.average, backward=self.backward, trace=self.log.append, **more,
        )  # fmt: skip

    def backward(self, loss: torch.Tensor) -> None:
        self.log.append("backward()")
        loss.backward()

    def step(self, phase: Phase, switching: bool = False) -> Any:
        return self.iteration(
            phase, switching, self._next(WEAK, STRONG), self._next(LABELLED, TARGETS)
        )

    def _next(self, *batch: Any) -> Callable[[], Any]:
        def take() -> Any:
            self.log.append(f"batch of {len(batch[0])}")
            return batch

        return take


def test_the_fake_engine_speaks_the_protocol() -> None:
    assert isinstance(FakeEngine("any", []), Segmenter)


@pytest.mark.parametrize(
    ("phase", "switching", "update"),
    [
        (Phase.BURN_IN, False, []),
        (Phase.MUTUAL, True, ["teacher.copy"]),
        (Phase.MUTUAL, False, ["teacher.average"]),
    ],
)
def test_the_order_of_one_step(phase: Phase, switching: bool, update: list[str]) -> None:
    bench = Bench()
    bench.step(phase, switching)
    assert bench.log == [
        "next.unlabelled",
        "batch of 2",
        "next.labelled",
        "batch of 3",
        *update,
        "teacher.label",
        "teacher.segment weak gradient=False training=False",
        "student.labelled",
        "student.losses labelled gradient=True",
        "student.unlabelled",
        "student.losses strong gradient=True",
        "backward",
        "backward()",
        "clip",
        "step",
        "optimiser.step",
    ]


@pytest.mark.parametrize("phase", [Phase.TEACHER, Phase.REFINE])
def test_where_labels_alone_train_no_archive_image_is_drawn_and_nobody_labels(phase: Phase) -> None:
    bench = Bench()
    report = bench.step(phase)
    assert bench.log == [
        "next.labelled",
        "batch of 3",
        "teacher.average",
        "student.labelled",
        "student.losses labelled gradient=True",
        "backward",
        "backward()",
        "clip",
        "step",
        "optimiser.step",
    ]
    assert report.pseudo == []


def test_the_teacher_labels_outside_autocast_and_both_student_passes_run_inside() -> None:
    bench = Bench()

    class Cast:
        def __enter__(self) -> None:
            bench.log.append("autocast {")

        def __exit__(self, *_: object) -> None:
            bench.log.append("}")

    bench.iteration._descend._autocast = Cast
    bench.step(Phase.BURN_IN)
    inside = bench.log[bench.log.index("autocast {") : bench.log.index("}")]
    assert [line for line in bench.log if line.startswith("teacher.segment")]
    assert not [line for line in inside if line.startswith("teacher")]
    assert [line.split(" gradient")[0] for line in inside if "losses" in line] == [
        "student.losses labelled",
        "student.losses strong",
    ]


def test_the_student_learns_what_the_teacher_saw_on_the_weak_view() -> None:
    bench = Bench()
    report = bench.step(Phase.BURN_IN)
    (_, given), (pixels, pseudo) = bench.student.seen
    assert given is not TARGETS
    assert given == TARGETS
    assert pixels is STRONG
    assert pseudo == report.pseudo
    assert [t.instances.scores.tolist() for t in pseudo] == [pytest.approx([0.9, 0.71])] * 2


def test_every_unlabelled_term_counts_twice() -> None:
    bench = Bench()
    report = bench.step(Phase.BURN_IN)
    # Each branch: a = w0 + 3 = 4, b = 2 * w1 = 4.
    assert report.losses == {"labelled/a": 4, "labelled/b": 4, "unlabelled/a": 4, "unlabelled/b": 4}
    assert report.total == pytest.approx(8 + 2 * 8)
    assert report.gradient == pytest.approx(3 * np.hypot(1, 2))
    assert bench.student.weight.tolist() == pytest.approx([1 - 3 * 1, 2 - 3 * 2])


def test_the_gradient_of_the_whole_model_is_clipped_before_the_step() -> None:
    bench = Bench(Rules(unlabelled_weight=2.0, decay=0.9, clip=0.01))
    before = bench.student.weight.detach().clone()
    bench.step(Phase.BURN_IN)
    moved = (bench.student.weight.detach() - before).norm()
    assert float(moved) == pytest.approx(0.01, rel=1e-3)


def test_burn_in_leaves_the_teacher_as_it_is() -> None:
    bench = Bench()
    before = copy.deepcopy(bench.teacher.state_dict())
    for _ in range(3):
        bench.step(Phase.BURN_IN)
    assert all(torch.equal(before[k], v) for k, v in bench.teacher.state_dict().items())


def test_the_switch_copies_the_student_of_the_step_before_and_then_averages() -> None:
    bench = Bench()
    bench.step(Phase.BURN_IN)
    student = bench.student.weight.detach().clone()
    bench.student.mean.fill_(7.0)
    bench.student.batches.fill_(4)
    bench.step(Phase.MUTUAL, switching=True)
    assert torch.equal(bench.teacher.weight, student)  # and not the student after this step
    assert not torch.equal(bench.student.weight, student)
    assert float(bench.teacher.mean) == 7.0
    assert int(bench.teacher.batches) == 4

    student = bench.student.weight.detach().clone()
    teacher = bench.teacher.weight.detach().clone()
    bench.student.mean.fill_(17.0)
    bench.student.batches.fill_(5)
    bench.step(Phase.MUTUAL)
    expected = teacher - (1 - 0.9) * (teacher - student)
    assert torch.allclose(bench.teacher.weight, expected, atol=1e-6)
    assert float(bench.teacher.mean) == pytest.approx(7 + 0.1 * 10)
    assert int(bench.teacher.batches) == 5
    assert bench.log.count("teacher.copy") == 1


def test_the_teacher_never_trains_and_no_graph_grows() -> None:
    bench = Bench()
    bench.step(Phase.MUTUAL, switching=True)
    for _ in range(5):
        bench.step(Phase.MUTUAL)
        assert not bench.teacher.training
        for tensor in [*bench.teacher.parameters(), *bench.teacher.buffers()]:
            assert not tensor.requires_grad
            assert tensor.grad_fn is None
            assert tensor.grad is None
            assert tensor.is_leaf


def test_a_running_average_of_the_student_becomes_the_teacher_at_the_switch() -> None:
    bench = Bench(average=True)
    assert bench.average is not None
    bench.step(Phase.BURN_IN)
    # 3 -> .9 * 3 + .1 * 1, before the student's first step.
    assert float(bench.average.weight[0]) == pytest.approx(2.8)
    bench.step(Phase.MUTUAL, switching=True)
    assert torch.equal(bench.teacher.weight, bench.average.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_student_changes(value: float) -> None:
    bench = Bench()
    before = bench.student.weight.detach().clone()
    bench.student.scale = value
    with pytest.raises(RunError, match=r"the loss is (nan|inf).*learning_rate"):
        bench.step(Phase.BURN_IN)
    assert torch.equal(bench.student.weight, before)
    assert "optimiser.step" not in bench.log


def test_a_gradient_that_is_not_finite_stops_too() -> None:
    bench = Bench()
    bench.student.weight.register_hook(lambda g: g * float("nan"))
    before = bench.student.weight.detach().clone()
    with pytest.raises(RunError, match="gradient is not finite"):
        bench.step(Phase.BURN_IN)
    assert torch.equal(bench.student.weight, before)


def test_the_papers_filter_keeps_scores_above_point_seven_and_asks_nothing_else() -> None:
    found = organoids([0.95, 0.7, 0.701, 0.2, 0.95], sides=[10, 10, 10, 10, 8])
    double = found.union(found)  # duplicates stay: there is no NMS
    target = PaperFilter()(double)
    assert target.instances.scores.tolist() == pytest.approx([0.95, 0.701] * 2)
    assert target.instances.areas.min() > 80  # five cells of 16 px
    assert target.weights.tolist() == [1] * 4  # hard labels
    assert target.confidence.tolist() == [1] * 4
    assert not target.ignored.any()
    assert target.background_weight == 1  # what it misses is background


def test_the_organoid_filter_weighs_by_certainty_and_ignores_the_doubtful() -> None:
    keep = OrganoidFilter(sharpness=3, accept=0.6, ignore=0.3, power=2)
    target = keep(organoids([0.9, 0.5, 0.2]))
    assert target.instances.scores.tolist() == pytest.approx([0.9, 0.5])
    assert target.ignored.tolist() == [False, True]
    assert target.weights.tolist() == pytest.approx([0.9**6, 0.5**6])
    assert target.confidence.tolist() == pytest.approx([0.729, 0.125])


def test_an_empty_image_of_the_archive_is_all_background() -> None:
    bench = Bench()
    bench.teacher.found = lambda: organoids([0.1])
    report = bench.step(Phase.BURN_IN)
    assert [len(t.instances) for t in report.pseudo] == [0, 0]
