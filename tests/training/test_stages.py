"""Stages of a run, on an engine of two numbers: what begins when, and who starts from whom."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from organoseg.distill.iteration import Iteration
from organoseg.distill.labeller import Labeller, QueryLabeller
from organoseg.distill.pseudo_labels import PaperFilter
from organoseg.distill.schedule import Phase, Schedule
from organoseg.training import plan
from organoseg.training.loop import Loop
from organoseg.training.progress import silent
from organoseg.training.recipe import Recipe, parse_recipe
from organoseg.training.run import train
from tests.training.fake_engine import BUILT
from tests.training.tiny import recipe


class Watched:
    """Runs a recipe and keeps what each step looked like."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chosen: Recipe, out: Path) -> None:
        self.steps: list[dict[str, Any]] = []
        self.loop: Any = None
        step, run = Iteration.__call__, Loop.run

        def watched_step(it: Any, phase: Phase, switching: bool, *feeds: Any) -> Any:
            report = step(it, phase, switching, *feeds)
            self.steps.append(
                {
                    "phase": phase,
                    "switching": switching,
                    "engines": len(BUILT),
                    "student": it.student.weight.detach().clone(),
                    "teacher": it.teacher.weight.detach().clone(),
                    "average": it.average,
                    "unlabelled": any(k.startswith("unlabelled") for k in report.losses),
                }
            )
            return report

        def watched_run(loop: Loop) -> Any:
            self.loop = loop
            return run(loop)

        monkeypatch.setattr(Iteration, "__call__", watched_step)
        monkeypatch.setattr(Loop, "run", watched_run)
        monkeypatch.setattr("organoseg.training.run.finish", lambda *_: None)
        train(chosen, out, reporter=silent)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, fake_engine: None) -> Any:
    def start(**method: Any) -> Watched:
        tree = recipe(data, model={"engine": "fake", "options": {}}, method=method)
        return Watched(monkeypatch, parse_recipe(tree), tmp_path / "run")

    return start


def test_the_stages_follow_each_other_and_the_switch_comes_once_at_the_end_of_burn_in(
    run: Any,
) -> None:
    watched = run()
    phases = [s["phase"] for s in watched.steps]
    assert phases == (
        [Phase.TEACHER] * 4 + [Phase.BURN_IN] * 6 + [Phase.MUTUAL] * 3 + [Phase.REFINE] * 3
    )
    assert [i for i, s in enumerate(watched.steps) if s["switching"]] == [10]


def test_the_student_never_starts_from_the_teacher(run: Any) -> None:
    watched = run()
    assert [s["engines"] for s in watched.steps] == [1] * 4 + [2] * 12
    first, second = BUILT  # one network for the teacher's stage, a fresh one for the student
    teacher = watched.steps[4]["teacher"]
    assert second is watched.loop.state.student
    assert first is not second
    # The engine's own start, moved by one step of AdamW at most, and far from the trained teacher.
    with torch.random.fork_rng():
        torch.manual_seed(1000)
        start = float(torch.rand(()))
    moved = watched.steps[4]["student"] - torch.tensor([start, 2 * start])
    assert float(moved.abs().max()) < 0.01
    assert float((watched.steps[4]["student"] - teacher).abs().max()) > 0.05


def test_the_teacher_is_frozen_through_burn_in_and_copies_the_student_at_the_switch(
    run: Any,
) -> None:
    steps = run(average=False).steps
    for s in steps[4:10]:
        assert torch.equal(s["teacher"], steps[4]["teacher"])
    assert not torch.equal(steps[4]["teacher"], steps[3]["student"])  # an average of its stage
    assert torch.equal(steps[10]["teacher"], steps[9]["student"])
    decay = 0.5 ** (1 / 3)
    for before, after in pairwise(steps[10:]):
        expected = decay * before["teacher"] + (1 - decay) * before["student"]
        assert torch.allclose(after["teacher"], expected, atol=1e-6)


def test_a_running_average_ends_where_the_teacher_takes_over(run: Any) -> None:
    steps = run().steps
    assert all(s["average"] is not None for s in steps[4:11])  # at the switch it is what is copied
    assert all(s["average"] is None for s in steps[11:])


@pytest.mark.parametrize("average", [False, True])
def test_without_a_mutual_stage_the_outcome_is_the_student_and_not_the_first_teacher(
    run: Any, average: bool
) -> None:
    watched = run(burn_in=1.0, refine=0.0, average=average)
    assert {s["phase"] for s in watched.steps[4:]} == {Phase.BURN_IN}
    assert not any(s["switching"] for s in watched.steps)
    loop = watched.loop
    assert loop.stages.outcome() is (loop.state.average if average else loop.state.student)
    assert torch.equal(loop.state.teacher.weight, watched.steps[4]["teacher"])


def test_refining_right_after_burn_in_starts_a_fresh_average(run: Any) -> None:
    steps = run(burn_in=0.75, average=False).steps
    assert [i for i, s in enumerate(steps) if s["switching"]] == [13]
    assert torch.equal(steps[13]["teacher"], steps[12]["student"])


def test_a_student_that_stays_behind_does_not_get_the_class(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {"student": 0.1, "teacher": 0.5}
    monkeypatch.setattr("organoseg.training.stages.guided.judge", _judge(scores))
    watched = run(guard=True, refine=0.0)
    assert [i for i, s in enumerate(watched.steps) if s["switching"]] == []
    assert {s["phase"] for s in watched.steps[4:]} == {Phase.BURN_IN}
    facts = watched.loop.state.facts
    assert facts.never
    assert any("labels to the end" in note for note in facts.notes)


def _judge(scores: Mapping[str, float]) -> Any:
    from organoseg.distill.guard import judge

    return lambda *_: judge(scores["student"], scores["teacher"], 0.02, "validation")


def test_a_schedule_covers_every_step_once() -> None:
    schedule = Schedule.guided(4, 6, 3, 3)
    assert schedule.total == 16
    assert schedule.student == 12
    for phase, _ in schedule.lengths:
        assert schedule.phase(schedule.start(phase)) is phase
    assert Schedule.guided(5).phase(4) is Phase.TEACHER


def test_the_preset_paper_is_the_paper(data: Path) -> None:
    tree = recipe(data)
    chosen = parse_recipe({"data": tree["data"], "method": {"name": "guided", "preset": "paper"}})
    method, training = chosen.method, chosen.training
    rules, labeller = plan.rules_of(chosen), plan.labeller_of(chosen, None)
    schedule = plan.schedule_of(chosen)
    assert rules.unlabelled_weight == 2.0  # every unlabelled term, no ramp
    assert rules.decay == 0.9996
    assert rules.clip == 0.01  # of the full model
    assert isinstance(labeller, QueryLabeller)
    assert labeller.score == 0.7
    assert labeller.cells == 5
    assert labeller.otherwise == Labeller(PaperFilter(0.7))  # one view; engines without queries
    assert (training.learning_rate, training.weight_decay) == (1e-4, 0.05)
    assert schedule.teacher == training.steps  # the teacher trains as long as the student
    assert 1 / 6 <= schedule.length(Phase.BURN_IN) / training.steps <= 1 / 2
    assert schedule.length(Phase.REFINE) == 0
    assert method.unlabelled_batch is None  # type: ignore[union-attr] - as many as labelled
    assert not method.guard  # type: ignore[union-attr]
    assert not method.average  # type: ignore[union-attr]
    assert not method.calibrate  # type: ignore[union-attr]
    assert method.copy_paste == 0  # type: ignore[union-attr]


def test_what_a_recipe_says_itself_goes_before_the_preset(data: Path) -> None:
    tree = recipe(data, method={"preset": "paper", "burn_in": 0.2})
    tree["training"]["learning_rate"] = 5e-4
    chosen = parse_recipe(tree)
    assert chosen.method.burn_in == 0.2  # type: ignore[union-attr]
    assert chosen.training.learning_rate == 5e-4
    assert parse_recipe(chosen.model_dump(mode="json")) == chosen


def test_a_burn_in_on_labels_alone_looks_at_no_unlabelled_image(run: Any) -> None:
    watched = run(burn_in_from="labels", pool=0)
    assert [s["unlabelled"] for s in watched.steps] == [False] * 10 + [True] * 3 + [False] * 3
    assert [i for i, s in enumerate(watched.steps) if s["switching"]] == [10]
