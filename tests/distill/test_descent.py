"""A step's loss does not depend on how many parts it is computed in, and a full memory is answered, not died of."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from organoseg.core import Instances, Mask, RunError
from organoseg.distill.branch import Branch
from organoseg.distill.descent import MOST_SKIPS, Descent, Report
from organoseg.distill.terms import in_order
from organoseg.models.protocol import Target
from organoseg.models.registry import build_engine
from tests.distill.fakes import FakeEngine, organoids

SIDE = 64


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def target(rng: np.random.Generator, count: int) -> Target:
    """So many squares anywhere, one of them ignored, with weights."""
    masks = [
        Mask(
            *(int(v) for v in rng.integers(0, 40, 2)),
            np.ones((int(rng.integers(8, 20)),) * 2, bool),
        )
        for _ in range(count)
    ]
    weights = rng.uniform(0.3, 1, count).astype(np.float32)
    return Target(
        Instances.from_masks((SIDE, SIDE), masks), weights, weights, np.arange(count) == 2, 0.7
    )


def branches(counts: Sequence[int] = (3, 0, 5, 1)) -> list[Branch]:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.standard_normal((2, len(counts), 1, SIDE, SIDE), np.float32))
    return [
        Branch(name, pixels[i], [target(rng, n) for n in counts], weight)
        for i, (name, weight) in enumerate((("labelled", 1.0), ("unlabelled", 2.0)))
    ]


def compact() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_engine("compact", (1,), {"width": 16}, None).train()


def descended(engine: Any, parts: int, **more: Any) -> tuple[Report, list[torch.Tensor], Descent]:
    """The report and the gradients, which a step of length 1 leaves in the weights."""
    optimiser = torch.optim.SGD([p for p in engine.parameters() if p.requires_grad], lr=0.0)
    descent, report = Descent(1e9, parts=parts, **more), Report()
    descent(engine, optimiser, branches(), report)
    gradients = [p.grad.clone() for p in engine.parameters() if p.grad is not None]
    return report, gradients, descent


def same(a: tuple[Any, ...], b: tuple[Any, ...]) -> None:
    assert a[0].losses == pytest.approx(b[0].losses, rel=1e-5)
    assert a[0].total == pytest.approx(b[0].total, rel=1e-5)
    for ours, theirs in zip(a[1], b[1], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5 * float(theirs.abs().max() + 1e-3))


@pytest.mark.parametrize("parts", [2, 3, 4])
@pytest.mark.parametrize("counts", [True, False])
def test_a_batch_in_parts_has_the_loss_and_the_gradient_of_the_whole(
    parts: int, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = descended(compact(), 1)
    engine = compact()
    if not counts:  # then one look more finds what is divided by
        monkeypatch.delattr(type(engine), "denominators")
    same(descended(engine, parts), whole)
    assert engine.normaliser is None


class Small:
    """A memory that holds so many crops; torch's own error beyond."""

    def __init__(self, engine: Any, most: int) -> None:
        self.losses, self.most, self.asked = engine.losses, most, []  # type: ignore[var-annotated]

    def __call__(self, pixels: torch.Tensor, targets: Sequence[Target]) -> Any:
        self.asked.append(len(targets))
        if len(targets) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.losses(pixels, targets)


def test_a_full_memory_is_answered_by_smaller_parts_with_the_same_result() -> None:
    whole = descended(compact(), 1)
    engine, notes = compact(), []  # type: ignore[var-annotated]
    engine.losses = small = Small(engine, 1)
    found = descended(engine, 1, note=notes.append)
    same(found, whole)
    assert small.asked == [4, 2, *[1] * 8]
    assert found[2].parts == 4
    assert "in 4 parts" in notes[-1]
    assert "to the same sums" in notes[-1]


def test_a_crop_that_does_not_fit_is_explained_with_what_helps() -> None:
    engine = compact()
    before = [p.clone() for p in engine.parameters()]
    engine.losses = Small(engine, 0)
    with pytest.raises(RunError, match=r"single crop.*checkpointing.*crop.*backbone"):
        descended(engine, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, engine.parameters(), strict=True))


class Circle:
    """As many threads as ``size``, each a process of a crew to its descent."""

    def __init__(self, size: int) -> None:
        self.size, self._said, self._turn = size, {}, threading.Barrier(size, timeout=60)  # type: ignore[var-annotated]

    def gather(self, rank: int, items: list[Any]) -> list[Any]:
        self._said[rank] = items
        self._turn.wait()
        found = [x for r in range(self.size) for x in self._said[r]]
        self._turn.wait()
        return found

    def run(self, act: Callable[["Member"], Any]) -> list[Any]:
        """What each of them gives; one that fails ends the others."""
        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(partial(self._one, act), range(self.size)))

    def _one(self, act: Callable[["Member"], Any], rank: int) -> Any:
        try:
            return act(Member(self, rank))
        except BaseException:
            self._turn.abort()
            raise


class Member:
    """One of a circle, as `organoseg.distill.crew.Crew` wants it."""

    def __init__(self, circle: Circle, rank: int) -> None:
        self.circle, self.rank, self.size, self.gathered = circle, rank, circle.size, 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        found = self.circle.gather(self.rank, [values.clone()])
        assert len({v.shape for v in found}) == 1, "the processes add up different things"
        return torch.stack(found).sum(0)

    def any(self, flag: bool) -> bool:
        return any(self.circle.gather(self.rank, [flag]))

    def gather(self, items: list[Any]) -> list[Any]:
        self.gathered += 1
        return self.circle.gather(self.rank, items)


def shared(share: dict[str, Sequence[slice]], parts: int, steps: int = 1) -> list[Any]:
    """Reports, gradients and the member of processes that have these crops of each branch."""

    def act(member: Member) -> Any:
        mine = [
            replace(b, pixels=b.pixels[share[b.name][member.rank]],
                    targets=b.targets[share[b.name][member.rank]])
            for b in branches()
        ]  # fmt: skip
        engine = engines[member.rank]
        optimiser = torch.optim.SGD([p for p in engine.parameters() if p.requires_grad], lr=0.0)
        descent = Descent(1e9, parts=parts, crew=member)
        for _ in range(steps):
            report = Report()
            descent(engine, optimiser, mine, report)
        return report, [p.grad.clone() for p in engine.parameters() if p.grad is not None], member

    circle = Circle(len(share["labelled"]))
    engines = [compact() for _ in range(circle.size)]
    return circle.run(act)


FIRST, REST, ALL, NONE = slice(1), slice(1, None), slice(None), slice(0)


@pytest.mark.parametrize(
    ("labelled", "unlabelled"),
    [
        ([FIRST, REST], [REST, FIRST]),
        ([REST, FIRST], [ALL, NONE]),
        ([NONE, ALL], [REST, FIRST]),
        ([NONE, ALL], [NONE, ALL]),
    ],
)
@pytest.mark.parametrize("parts", [1, 3])
def test_uneven_shares_have_the_loss_and_the_gradient_of_the_whole(
    labelled: list[slice], unlabelled: list[slice], parts: int
) -> None:
    """In parts, a process with few crops meets the branches in another order than one with many."""
    whole = descended(compact(), 1)
    first, second = shared({"labelled": labelled, "unlabelled": unlabelled}, parts, steps=2)
    for found in (first, second):
        same(found, whole)
        assert list(found[0].losses) == list(whole[0].losses)
        assert found[0].crops == whole[0].crops == 8
        assert found[2].gathered == 1, "names are gathered once, not at every step"
    assert first[0] == second[0]


def test_names_of_terms_go_by_their_branch_whoever_says_them_first() -> None:
    steps = ["labelled", "unlabelled"]
    wanted = ("labelled/score", "labelled/dice", "unlabelled/score", "unlabelled/dice")
    ranks = [
        ["unlabelled/score", "unlabelled/dice"],
        ["unlabelled/score", "unlabelled/dice", "labelled/score", "labelled/dice"],
        ["labelled/score", "labelled/dice"],
        [],
    ]
    for said in itertools.permutations(ranks):
        assert in_order(said, steps) == wanted
    assert in_order([], steps) == ()


class Half:
    """A student of two numbers under a gradient scaler."""

    def __init__(self) -> None:
        self.engine = FakeEngine("student", [], 1.0)
        self.optimiser = torch.optim.SGD(self.engine.parameters(), lr=1.0)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        self.descent = Descent(
            0.5, backward=lambda x: self.scaler.scale(x).backward(), scaler=self.scaler
        )

    def step(self) -> Report:
        report = Report()
        one = Branch("labelled", torch.ones(1, 1, 32, 32), [Target.labelled(organoids([1.0]))])
        self.descent(self.engine, self.optimiser, [one], report)  # type: ignore[arg-type]
        return report


def test_scaled_gradients_are_clipped_in_their_true_size() -> None:
    half = Half()
    report = half.step()
    assert report.gradient == pytest.approx(np.hypot(1, 2), rel=1e-5)
    moved = (torch.tensor([1.0, 2.0]) - half.engine.weight.detach()).norm()
    assert float(moved) == pytest.approx(0.5, rel=1e-4)


def test_a_gradient_that_overflows_fp16_is_left_out_and_the_scale_falls() -> None:
    half = Half()
    handle = half.engine.weight.register_hook(lambda g: g * float("inf"))
    report = half.step()
    assert report.skipped
    assert half.engine.weight.tolist() == [1, 2]
    assert half.scaler.get_scale() == 512
    handle.remove()
    assert not half.step().skipped
    assert half.engine.weight.tolist() != [1, 2]


def test_a_gradient_that_never_fits_stops_the_run() -> None:
    half = Half()
    half.engine.weight.register_hook(lambda g: g * float("nan"))
    for _ in range(MOST_SKIPS):
        half.step()
    with pytest.raises(RunError, match="gradient is not finite"):
        half.step()


def test_a_loss_that_is_not_a_number_stops_at_once_whatever_the_scaler_thinks() -> None:
    half = Half()
    half.engine.scale = float("nan")
    with pytest.raises(RunError, match="the loss is nan"):
        half.step()
    assert half.engine.weight.tolist() == [1, 2]
