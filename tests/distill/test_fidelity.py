"""The preset `paper` is Berrada, Couprie, Alahari, Verbeek, "Guided Distillation" (arXiv 2308.02668, WACV 2024).

Each test cites the section of the method reference (methods.md) that its values are from.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from organoseg.core import Instances
from organoseg.distill.descent import Descent
from organoseg.distill.iteration import Iteration
from organoseg.distill.labeller import Labeller, QueryLabeller
from organoseg.distill.pseudo_labels import PaperFilter
from organoseg.distill.schedule import Phase
from organoseg.distill.views import (
    PAPER_STRONG,
    AsItIs,
    Geometry,
    SsdJitter,
    change_light,
    take_crop,
)
from organoseg.distill.weights import freeze
from organoseg.models.protocol import QueryPredictions, QuerySegmenter, Target
from organoseg.training import plan
from organoseg.training.feed import UnlabelledFeed
from organoseg.training.recipe import Recipe, parse_recipe
from tests.distill.fakes import SIDE, FakeEngine, organoids

GRID = SIDE // 4


class QueryEngine(FakeEngine):
    """Five queries whose words are known: two classes and, last, no object; masks are squares of cells."""

    classes = (3, 7)
    #: Softmax over both classes and "no object"; side (cells) and logit of the mask.
    SAID = (
        ((0.75, 0.05, 0.20), 4, 5.0),  # taught as class 3
        ((0.10, 0.70, 0.20), 4, 5.0),  # .7 is not above .7
        ((0.15, 0.05, 0.80), 4, 5.0),  # most probably no object
        ((0.05, 0.90, 0.05), 2, 5.0),  # four cells: a sum of 3.97 is not above 5
        ((0.02, 0.95, 0.03), 4, 5.0),  # taught as class 7, at the place of the first
    )

    def queries(self, pixels: torch.Tensor) -> QueryPredictions:
        kind = "weak" if float(pixels.max()) < 20 else "strong"
        self.log.append(
            f"{self.name}.queries {kind} gradient={torch.is_grad_enabled()} training={self.training}"
        )
        masks = torch.full((len(pixels), len(self.SAID), GRID, GRID), -20.0)
        for q, (_, side, logit) in enumerate(self.SAID):
            masks[:, q, 1 : 1 + side, 1 : 1 + side] = logit
        said = torch.tensor([p for p, _, _ in self.SAID]).expand(len(pixels), -1, -1)
        return QueryPredictions(said, masks)


def chosen(**training: Any) -> Recipe:
    labelled = {"annotations": "a.json", "images": "i"}
    return parse_recipe(
        {
            "data": {"labelled": labelled, "unlabelled": "u"},
            "method": {"name": "guided", "preset": "paper"},
            "training": {"steps": 9, "batch": 2, **training},
        }
    )


class Bench:
    """The recipe's own rules and labeller at work on two engines, around the switch."""

    def __init__(self) -> None:
        recipe = chosen()
        self.log: list[Any] = []
        self.schedule, self.rules = plan.schedule_of(recipe), plan.rules_of(recipe)
        self.student = QueryEngine("student", self.log, 1.0)
        self.teacher = freeze(QueryEngine("teacher", self.log, 5.0))
        groups = self.student.parameter_groups(1e-4, 0.05)
        self.optimiser = torch.optim.AdamW(groups)
        self.history: list[dict[str, Any]] = []
        labeller = plan.labeller_of(recipe, None)
        descent = Descent(self.rules.clip, trace=self.log.append)
        self.iteration = Iteration(
            self.student, self.teacher, self.optimiser, labeller, self.rules,  # type: ignore[arg-type]
            descent=descent, trace=self.log.append,
        )  # fmt: skip

    def run(self) -> None:
        weak, strong = torch.full((2, 1, SIDE, SIDE), 10.0), torch.full((2, 1, SIDE, SIDE), 20.0)
        labelled = torch.ones(2, 1, SIDE, SIDE)
        targets = [Target.labelled(organoids([1.0])) for _ in range(2)]
        first = self.schedule.start(Phase.BURN_IN)
        for step in range(first, self.schedule.total):
            phase = self.schedule.phase(step)
            switching = step == self.schedule.start(Phase.MUTUAL)
            start, before = len(self.log), self.student.weight.detach().clone()
            report = self.iteration(
                phase, switching, lambda: (weak, strong), lambda: (labelled, targets)
            )
            self.history.append(
                {
                    "phase": phase,
                    "switching": switching,
                    "before": before,
                    "after": self.student.weight.detach().clone(),
                    "teacher": self.teacher.weight.detach().clone(),
                    "log": self.log[start:],
                    "report": report,
                }
            )


@pytest.fixture
def history() -> list[dict[str, Any]]:
    bench = Bench()
    bench.run()
    return bench.history


def test_the_order_of_operations_of_every_iteration(history: list[dict[str, Any]]) -> None:
    """Section 1.2: batches; teacher update; teacher forward on the weak view without gradient; student on labelled and
    on the strong view; one backward over the sum; clip; step."""
    update = {False: "teacher.average", True: "teacher.copy"}
    for step in history:
        expected = [
            "next.unlabelled",
            "next.labelled",
            *([] if step["phase"] is Phase.BURN_IN else [update[step["switching"]]]),
            "teacher.label",
            "teacher.queries weak gradient=False training=False",
            "student.labelled",
            "student.losses labelled gradient=True",
            "student.unlabelled",
            "student.losses strong gradient=True",
            "backward",
            "clip",
            "step",
        ]
        assert step["log"] == expected


def test_frozen_then_one_full_copy_then_the_average(history: list[dict[str, Any]]) -> None:
    """Sections 1.1 (B1, B2) and 1.2 (step 2): frozen in burn-in, decay 0 once, alpha .9996 afterwards, and the teacher
    of a step holds the student of the step before. Burn-in is a third of the run, within 1.6's 1/6 to 1/2."""
    phases = [s["phase"] for s in history]
    assert phases == [Phase.BURN_IN] * 3 + [Phase.MUTUAL] * 6
    assert [s["switching"] for s in history] == [False] * 3 + [True] + [False] * 5
    for step in history[:3]:
        assert step["teacher"].tolist() == [5, 10]
    assert torch.equal(history[3]["teacher"], history[2]["after"])
    assert sum("teacher.copy" in s["log"] for s in history) == 1
    for before, step in pairwise(history[3:]):
        expected = before["teacher"] - (1 - 0.9996) * (before["teacher"] - step["before"])
        assert torch.allclose(step["teacher"], expected, rtol=0, atol=1e-7)
        assert not torch.equal(step["before"], before["before"])


def test_every_unlabelled_term_counts_twice_and_the_labelled_ones_once(
    history: list[dict[str, Any]],
) -> None:
    """Section 1.4: every term of the unlabelled criterion x 2.0, hard-coded; labelled x 1; no ramp."""
    for step in history:
        losses = step["report"].losses
        labelled = sum(v for k, v in losses.items() if k.startswith("labelled/"))
        unlabelled = sum(v for k, v in losses.items() if k.startswith("unlabelled/"))
        assert step["report"].total == pytest.approx(labelled + 2 * unlabelled)
        assert len(losses) == 4


def test_the_filter_on_k_plus_one_classes_with_a_soft_area_and_hard_coarse_masks() -> None:
    """Section 1.3: argmax over K + 1 is an object, max softmax above .7, sum of sigmoid above 5 cells of stride 4,
    mask sigmoid > .5, no removal of duplicates, no weights, no ignored region."""
    labeller = plan.labeller_of(chosen(), None)
    assert isinstance(labeller, QueryLabeller)
    assert (labeller.score, labeller.cells) == (0.7, 5.0)
    teacher = freeze(QueryEngine("teacher", []))
    assert isinstance(teacher, QuerySegmenter)
    first, second = labeller(teacher, torch.ones(2, 1, SIDE, SIDE))  # type: ignore[arg-type]
    for target in (first, second):
        assert target.stride == 4
        assert target.instances.shape == (GRID, GRID)
        assert target.instances.scores.tolist() == pytest.approx([0.75, 0.95])
        assert target.instances.classes.tolist() == [3, 7]
        assert target.instances.boxes.tolist() == [[1, 1, 5, 5]] * 2  # the same place twice
        assert target.weights.tolist() == target.confidence.tolist() == [1, 1]
        assert not target.ignored.any()
        assert target.background_weight == 1


def test_the_soft_area_counts_what_the_hard_mask_does_not() -> None:
    """Section 1.3: the area is the sum of probabilities. Twelve cells of .49 are 5.9 cells, and no mask."""

    class Faint(QueryEngine):
        SAID = (
            ((0.9, 0.05, 0.05), 3, 0.2),
            ((0.9, 0.05, 0.05), 4, -0.04),
            ((0.9, 0.05, 0.05), 3, 0.3),
        )

    label = QueryLabeller(0.7, Labeller(PaperFilter(0.7)))
    (target,) = label(freeze(Faint("teacher", [])), torch.ones(1, 1, SIDE, SIDE))  # type: ignore[arg-type]
    # 9 cells of .55 are 4.95: too few; 16 of .49 are 7.8 but no cell is set; 9 of .574 are 5.2.
    assert target.instances.areas.tolist() == [9]


def test_an_engine_without_queries_is_filtered_by_its_scores() -> None:
    """Section 1.3 as far as it can be asked of another engine."""
    label = plan.labeller_of(chosen(), None)
    (target,) = label(freeze(FakeEngine("teacher", [])), torch.ones(1, 1, SIDE, SIDE))  # type: ignore[arg-type]
    assert target.instances.scores.tolist() == pytest.approx([0.9, 0.71])
    assert target.stride == 1


def test_the_optimiser_of_the_paper() -> None:
    """Section 1.6: AdamW 1e-4, decay .05, whole-model clip .01; WarmupPolyLR of power .9 without warm-up, or drops at
    327 778 and 355 092 of 368 750 steps; section 1.5: as many unlabelled as labelled crops."""
    recipe = chosen()
    training, method = recipe.training, recipe.method
    assert (training.learning_rate, training.weight_decay, training.clip) == (1e-4, 0.05, 0.01)
    assert (training.schedule, training.warmup) == ("poly", 0)
    rates = [plan.rate(k, 90_000, 0, "poly") for k in (0, 45_000, 89_999)]
    assert rates == pytest.approx([1, 0.5**0.9, (1 / 90_000) ** 0.9])
    steps = (327_777, 327_778, 355_091, 355_092)
    drops = [plan.rate(k, 368_750, 10, "multistep") for k in steps]
    assert drops == pytest.approx([1, 0.1, 0.1, 0.01])
    assert method.unlabelled_batch is None  # type: ignore[union-attr]
    assert chosen(batch="auto").training.batch == 16
    assert method.unlabelled_includes_labelled  # type: ignore[union-attr]
    assert method.teacher_precision == "fp32"  # type: ignore[union-attr]


def test_one_clipped_step_moves_the_student_as_adamw_does(history: list[dict[str, Any]]) -> None:
    """Section 1.6: the gradient's norm, here 3 * sqrt(5), is cut to .01 before AdamW sees it."""
    assert history[0]["report"].gradient == pytest.approx(3 * np.sqrt(5))
    weight = nn.Parameter(history[0]["before"].clone())
    weight.grad = torch.tensor([1.0, 2.0]) / np.sqrt(5) * 0.01
    torch.optim.AdamW([weight], lr=1e-4, weight_decay=0.05).step()
    assert torch.allclose(history[0]["after"], weight, atol=1e-7)


class Picture:
    """One picture of noise and stripes; the smallest source of crops."""

    pixels = np.tile(np.linspace(-1, 1, 48, dtype=np.float32), (48, 1))

    def read(self, index: int) -> "Picture":
        return self


def test_strong_and_weak_views_share_one_geometric_draw_and_strong_builds_on_weak() -> None:
    """Section 1.5: strong is the already weak image with jitter (.4, .4; p .8) and blur (radius .1 to 2; p .5); its
    saturation, hue and greyscale change nothing of grey pixels. Labelled images get weak changes only."""
    assert (PAPER_STRONG.brightness, PAPER_STRONG.contrast, PAPER_STRONG.chance) == (0.4, 0.4, 0.8)
    assert (PAPER_STRONG.blur, PAPER_STRONG.blur_chance) == ((0.1, 2.0), 0.5)
    recipe = chosen()
    assert plan.strong_of(recipe.method) == PAPER_STRONG  # type: ignore[arg-type]
    assert plan.weak_of(recipe) == SsdJitter()
    feed = UnlabelledFeed(Picture(), 1, 24, 0, Geometry(32, (1, 1)), PAPER_STRONG, SsdJitter())  # type: ignore[arg-type]
    batch = feed(0)
    for weak, strong in zip(batch.weak[:, 0].numpy(), batch.strong[:, 0].numpy(), strict=True):
        # Brightness and contrast keep the order of pixels: the stripes run the same way, turned and mirrored alike.
        for axis in (0, 1):
            a, b = np.diff(weak.mean(1 - axis)).sum(), np.diff(strong.mean(1 - axis)).sum()
            assert a * b >= 0 or abs(a) < 1e-3
        assert np.corrcoef(weak.ravel(), strong.ravel())[0, 1] > 0.9
    assert any(not torch.equal(w, s) for w, s in zip(batch.weak, batch.strong, strict=True))


def test_the_published_share_of_changes() -> None:
    """Section 1.5: jitter with p .8 and blur with p .5, so one view in ten stays the weak one."""
    pixels = np.random.default_rng(0).uniform(-1, 1, (8, 8)).astype(np.float32)
    rng = np.random.default_rng(1)
    same = [
        np.allclose(change_light(rng, pixels, PAPER_STRONG), pixels, atol=1e-6) for _ in range(2000)
    ]
    assert np.mean(same) == pytest.approx(0.2 * 0.5, abs=0.02)
    assert change_light(rng, pixels, AsItIs()) is pixels


def test_large_scale_jitter_keeps_the_image_whole_and_pads_it() -> None:
    """Section 1.5, COCO: mirrored or not, scale U[.1, 2.0], a crop of fixed size, padded."""
    whole = np.ones((40, 60), np.float32)
    discs = Instances.from_dense(np.pad(np.ones((1, 20, 20), bool), ((0, 0), (10, 10), (5, 35))))
    rng, sizes = np.random.default_rng(0), []
    for _ in range(60):
        crop, seen = take_crop(rng, whole, discs, Geometry(64, (0.1, 2.0), 1, jitter=True))
        assert crop.shape == seen.shape == (64, 64)
        rows, columns = (int((crop != 0).any(1 - axis).sum()) for axis in (0, 1))
        assert rows <= columns or columns == 64
        sizes.append(columns)
        factor = columns / 60 if columns < 64 else None
        if factor and len(seen):
            assert seen.areas[0] == pytest.approx(400 * factor**2, rel=0.35, abs=8)
    assert min(sizes) < 20
    assert sizes.count(64) > 15


def test_the_shipped_recipe_is_the_preset() -> None:
    """configs/paper.yaml says nothing of its own that the method reference contradicts (1.5, 1.6)."""
    import yaml

    path = Path(__file__).resolve().parents[2] / "configs" / "paper.yaml"
    recipe = parse_recipe(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert recipe.training.batch == 16
    assert recipe.training.steps == 90_000
    assert recipe.training.warmup == 0
    assert recipe.training.schedule == "poly"
