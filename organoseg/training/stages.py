"""The stages of a run: when one begins, who labels the archive in it, and whether the switch may happen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from organoseg.core import DataError
from organoseg.distill.copy_paste import donors_of
from organoseg.distill.descent import Alone
from organoseg.distill.guard import judge
from organoseg.distill.labeller import Labeller
from organoseg.distill.pool import (
    Pool,
    label_pool,
    labelled_density,
    load_pool,
    matching_sharpness,
    save_pool,
)
from organoseg.distill.schedule import Phase
from organoseg.distill.weights import average_weights, copy_weights
from organoseg.models.protocol import Segmenter, Target
from organoseg.training import plan
from organoseg.training.ahead import Prefetch, Workers
from organoseg.training.data import RunData
from organoseg.training.feed import PooledFeed, Share, UnlabelledBatch
from organoseg.training.methods import Guided
from organoseg.training.recipe import Recipe
from organoseg.training.state import State
from organoseg.training.unlabelled import Feed, Unlabelled
from organoseg.training.validation import average_precision_of

MOST_POSTPONEMENTS = 3
#: The student may be this much behind at the switch: its learning rate is still high, the teacher was annealed;
#: on images that both were trained on only a collapse can be told.
TOLERANCE, TOLERANCE_TRAINED = 0.05, 0.25
#: Bounds of the calibrated sharpness: counting alone must not call everything certain, or nothing.
SHARPNESS = (1.0, 6.0)
PSEUDO_LABELS = "pseudo_labels"


class Stages:
    """Decides what kind of step comes next and feeds it with unlabelled images.

    Parameters
    ----------
    note
        Takes sentences worth keeping in the run's record.
    progress
        Called with images done and images in all while a part of the archive is labelled.
    crew, workers, stopping
        The processes of the run, who makes batches, and whether the run was told to stop.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: RunData,
        out: Path,
        state: State,
        autocast: Callable[[], Any],
        note: Callable[[str], None],
        progress: Callable[[int, int], None] = lambda done, images: None,
        crew: Any = None,
        workers: Workers | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._crew, self._workers, self._stopping = crew or Alone(), workers, stopping
        self.recipe, self.data, self.out, self.state = recipe, data, out, state
        self._note, self._progress = note, progress
        method = recipe.method
        full = isinstance(method, Guided) and method.teacher_precision == "fp32"
        # What a pool is labelled in; batches are always labelled as the paper does, in fp32.
        self._autocast: Callable[[], Any] = nullcontext if full else autocast
        self.schedule = plan.schedule_of(recipe)
        self.rules = plan.rules_of(recipe)
        self._maker: Feed | None = None
        self._feed: Prefetch[UnlabelledBatch] | None = None
        self._pooled = False
        self._waited = 0.0

    @property
    def waited(self) -> float:
        """Seconds spent waiting for unlabelled batches."""
        return self._waited + (self._feed.waited if self._feed else 0.0)

    @property
    def unlabelled_batch(self) -> int:
        """Crops of a step's unlabelled batch, of all processes together; 0 where labels alone train."""
        method = self.recipe.method
        if not isinstance(method, Guided):
            return 0
        return method.unlabelled_batch or self.recipe.training.batch

    def phase(self, step: int) -> Phase:
        """The stage of a step; the guard may have put the switch off."""
        phase, facts = self.schedule.phase(step), self.state.facts
        if phase is Phase.MUTUAL and (
            facts.never or step < self.schedule.start(Phase.MUTUAL) + facts.postponed
        ):
            return Phase.BURN_IN
        return phase

    def begin(self, step: int) -> bool:
        """Do what has to happen before ``step``; True where the teacher becomes the student's copy."""
        method, facts = self.recipe.method, self.state.facts
        if not isinstance(method, Guided):
            return False
        if step == self.schedule.teacher and not facts.student:
            self._begin_student(method)
        phase = self.phase(step)
        if phase is Phase.MUTUAL and not facts.switched:
            facts.switched = self._may_switch(method)
            if facts.switched and method.pool:
                self._hand_over(method)
            return facts.switched
        if phase is Phase.REFINE and not facts.switched:
            # Nobody labels any more: the teacher becomes the student's average, guard or no guard.
            facts.switched = True
            return True
        return False

    # -- teacher and student -----------------------------------------------------------------

    def _begin_student(self, method: Guided) -> None:
        state = self.state
        if method.teacher is not None:
            self._take_teacher(method.teacher)
        elif self.schedule.teacher:
            average_weights(state.teacher, state.student, self.rules.average_decay)
        state.begin_student(method.average)
        state.facts.student = True
        if method.pool:
            self._label(method, "burn_in", state.teacher)

    def _hand_over(self, method: Guided) -> None:
        """The student's average, teacher from this step on, labels a pool of its own, or every batch."""
        self._drop_feed()  # what reads ahead must not read while the pool is labelled
        state = self.state
        if method.relabel:
            self._label(method, "mutual", state.average or state.student)
        else:
            state.facts.pool = None

    def _take_teacher(self, folder: Path) -> None:
        from organoseg.models.folder import load_module

        module, description = load_module(folder)
        fits = (
            description.engine == self.recipe.model.engine
            and tuple(description.classes) == self.state.classes
            and _shapes(module) == _shapes(self.state.teacher)
            and _layout(module) == _layout(self.state.teacher)
        )
        if not fits:
            raise DataError(
                "the teacher has another engine, other options or other classes than this run",
                where=folder,
                remedy="Write the engine and options of its model.yaml into the recipe's model section.",
            )
        copy_weights(self.state.teacher, module.to(self.state.device))

    def _may_switch(self, method: Guided) -> bool:
        state, facts = self.state, self.state.facts
        if not method.guard:
            return True
        held_out = self.data.validation is not None
        dataset = self.data.validation or self.data.labelled
        student = state.average if state.average is not None else state.student
        verdict = judge(
            average_precision_of(student, dataset, state.device, self._crew),
            average_precision_of(state.teacher, dataset, state.device, self._crew),
            TOLERANCE if held_out else TOLERANCE_TRAINED,
            "validation" if held_out else "the labelled images (no validation set)",
        )
        self._note(verdict.reason)
        if verdict.switch:
            return True
        facts.postponements += 1
        facts.postponed += max(self.schedule.student // 10, 1)
        if facts.postponements >= MOST_POSTPONEMENTS:
            facts.never = True
            self._note("the student stays behind: no switch, the first teacher labels to the end")
        return False

    # -- pseudo-labels -----------------------------------------------------------------------

    def _label(self, method: Guided, name: str, teacher: nn.Module) -> None:
        """Label a part of the archive and keep the result in the run folder."""
        was_training = teacher.training
        teacher.eval()
        state, source = self.state, self._source()
        indices = source.draw(method.pool, int(name != "burn_in"))
        crew, n = self._crew, len(indices)
        mine = label_pool(
            Labeller(plan.filter_of(method, None), method.pool_zooms),
            teacher,  # type: ignore[arg-type]
            source,
            indices[n * crew.rank // crew.size : n * (crew.rank + 1) // crew.size],
            state.device,
            self._autocast,
            self._progress,
        )
        teacher.train(was_training)
        seen = crew.gather(list(zip(mine.indices, mine.instances, mine.names, strict=True)))
        pool = Pool(*(tuple(part) for part in zip(*seen, strict=True)))
        if crew.main:
            save_pool(pool, self._pool_path(name))
        crew.wait()
        state.facts.pool = name
        self._calibrate(method, pool)
        sharpness = state.facts.sharpness or method.sharpness
        drawn = labelled_density(self.data.labelled)
        self._note(
            f"{len(pool)} archive images labelled from {len(method.pool_zooms)} views; "
            f"{pool.density(sharpness) * 1e6:.0f} organoids a megapixel expected (sharpness {sharpness:.2f}), "
            f"people drew {drawn * 1e6:.0f}"
        )

    def _calibrate(self, method: Guided, pool: Pool) -> None:
        """The first teacher's scores are read as the recipe says, later ones so that the count stays."""
        facts = self.state.facts
        if facts.expected is None:
            facts.expected = pool.density(method.sharpness)
        elif method.calibrate and method.filter == "organoid":
            facts.sharpness = matching_sharpness(pool, facts.expected, *SHARPNESS)

    def _source(self) -> Unlabelled:
        if self.data.unlabelled is None:
            raise DataError("this recipe has no unlabelled images", remedy="Give data.unlabelled.")
        return self.data.unlabelled

    def _pool_path(self, name: str) -> Path:
        return self.out / PSEUDO_LABELS / f"{name}.json"

    def _pool(self) -> Pool | None:
        name = self.state.facts.pool
        return load_pool(self._pool_path(name)) if name else None

    def labeller(self, batch: Callable[[], UnlabelledBatch]) -> Callable[..., list[Target]]:
        """Who labels a batch: the pool it was taken from, or the teacher, now."""
        online = plan.labeller_of(self.recipe, self.state.facts.sharpness)

        def label(teacher: Segmenter, weak: torch.Tensor) -> list[Target]:
            known = batch().targets
            return known if known is not None else online(teacher, weak)

        return label

    def unlabelled(self, step: int) -> UnlabelledBatch:
        """The unlabelled batch of a step."""
        if self._feed is None:
            self._maker = self._make_feed()
            steps = self.schedule.start(Phase.REFINE) - self.schedule.teacher
            self._feed = Prefetch(self._maker, self._workers, steps, self._stopping)
        return self._feed(step - self.schedule.teacher)

    def _make_feed(self) -> Feed:
        method = self.recipe.method
        if not isinstance(method, Guided):
            raise TypeError("a supervised run asked for unlabelled images")
        size, seed = self.unlabelled_batch, self.recipe.seed
        geometry, pool = plan.geometry_of(self.recipe), self._pool()
        strong, weak = plan.strong_of(method), plan.weak_of(self.recipe)
        share = Share(self._crew.rank, self._crew.size)
        if pool is None:
            return self._source().feed(size, geometry, strong, weak, share)
        chosen = plan.filter_of(method, self.state.facts.sharpness)
        donors = donors_of(self.data.labelled) if method.copy_paste else ()
        return PooledFeed(
            self._source(), pool, chosen, size, seed, geometry, strong, donors, method.copy_paste,
            weak, share,
        )  # fmt: skip

    def _drop_feed(self) -> None:
        self._waited = self.waited
        if self._feed is not None and self._maker is not None:
            self._feed.close()
            self._maker.close()
        self._feed = self._maker = None

    def close(self) -> None:
        """Stop making batches ahead."""
        self._drop_feed()


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {k: v.shape for k, v in module.state_dict().items()}


def _layout(module: nn.Module) -> Any:
    """What an engine's weights do not show by their shapes, such as the sizes of its anchors."""
    return getattr(module, "layout", None)
