"""Mutual distillation: two students, whose running averages are each other's teachers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from organoseg.distill.agreement import certain
from organoseg.distill.cut_mix import Box, boxes_of_step
from organoseg.distill.descent import Descent, Report
from organoseg.distill.feature_augmentation import ramp
from organoseg.distill.iteration import Rules
from organoseg.distill.labeller import Labeller, LabelsBatches, QueryLabeller
from organoseg.distill.mutual import NAMES, Both, Crossing, MutualIteration, MutualLabeller
from organoseg.distill.pool import Pool, two_fold
from organoseg.distill.pseudo_labels import PaperFilter
from organoseg.models.pair import FIRST, Pair, other, pair_of
from organoseg.models.protocol import QuerySegmenter
from organoseg.training import plan
from organoseg.training.crops import feed_of
from organoseg.training.feed import TwoFoldFeed, UnlabelledBatch
from organoseg.training.methods import Mutual
from organoseg.training.pairs import models_of
from organoseg.training.pools import said_by_two
from organoseg.training.setting import Setting
from organoseg.training.stages.conductor import NextLabelled, Trained
from organoseg.training.stages.guided import SwitchingStages, take_teacher
from organoseg.training.validation import average_precision_of

#: Score from which what a student sees teaches the other one.
CERTAIN = 0.7


class MutualStages(SwitchingStages):
    """The stages of guided distillation for a pair: teachers on labels, fresh students, and a switch half-way."""

    def __init__(self, setting: Setting) -> None:
        method = setting.recipe.method
        if not isinstance(method, Mutual):
            raise TypeError(f"{type(method).__name__} is not mutual distillation")
        super().__init__(setting, method)
        self.mutual = method

    # -- a step --------------------------------------------------------------------------------

    def step(self, step: int, switching: bool, labelled: NextLabelled, descent: Descent) -> Report:
        state, batches = self.setting.state, list[UnlabelledBatch]()
        students = pair_of(state.student)

        def unlabelled() -> tuple[torch.Tensor, torch.Tensor]:
            batches.append(self._crops(step - self.schedule.teacher))
            return self.moved(batches[-1].weak), self.moved(batches[-1].strong)

        online = self._labeller()

        def label(teachers: Pair, weak: torch.Tensor) -> Both:
            first, second = batches[-1].targets, batches[-1].second
            if first is not None and second is not None:
                return dict(zip(NAMES, (first, second), strict=True))
            return online(teachers, weak)

        self._vary(students, step)
        iteration = MutualIteration(
            students,
            pair_of(state.teacher),
            state.optimiser,
            label,
            self._rules(step),
            boxes=self._boxes(step),
            crossing=self._crossing(),
            average=state.average,
            descent=descent,
        )
        report = iteration(self.phase(step), switching, unlabelled, labelled)
        for known in students.kept.values():
            # Now and not before the next step: a checkpoint in between holds what all processes saw, not one.
            known.commit(self.setting.crew.sum)  # type: ignore[operator]
        if switching:
            state.average = None  # from here on the teachers are the students' averages
        return report

    def _rules(self, step: int) -> Rules:
        """The rules of a step: where averages teach from the start, they first follow their students closely."""
        if not self.mutual.from_scratch:
            return self.rules
        taken = step - self.schedule.teacher + 1
        return replace(self.rules, decay=min(1 - 1 / taken, self.rules.decay))

    def _vary(self, students: Pair, step: int) -> None:
        """Features vary a little more than in the step before."""
        most = self.mutual.feature_augmentation
        if not most:
            return
        taken = step - self.schedule.teacher
        ratio = ramp(taken, self.schedule.student, most) if taken >= 0 else 0.0
        for name in students.kept:
            students[name].spread.ratio = ratio

    def _boxes(self, step: int) -> Callable[[torch.Tensor], Sequence[Sequence[Box]]]:
        recipe, rank = self.setting.recipe, self.setting.crew.rank

        def draw(pixels: torch.Tensor) -> Sequence[Sequence[Box]]:
            shape = (int(pixels.shape[2]), int(pixels.shape[3]))
            chance = self.mutual.cut_mix
            return boxes_of_step(recipe.seed, step, rank, shape, len(pixels), chance)

        return draw

    def _crossing(self) -> Crossing | None:
        if not self.mutual.cross_weight:
            return None
        return Crossing(self.mutual.cross_weight, Labeller(PaperFilter(CERTAIN)))

    def _labeller(self) -> MutualLabeller:
        recipe, sharpness = self.setting.recipe, self.setting.state.facts.sharpness
        chosen = plan.filter_of(self.mutual, sharpness)
        looks = Labeller(chosen, (1.0,) * self.mutual.views)
        plain: LabelsBatches = plan.labeller_of(recipe, sharpness)
        students = pair_of(self.setting.state.student)
        if isinstance(plain, QueryLabeller) and not all(
            isinstance(students[name], QuerySegmenter) for name in NAMES
        ):
            # Queries' masks lie on their own grid, and a student of another engine learns from the image's.
            plain = plain.otherwise
        return MutualLabeller(plain, looks, chosen, self.mutual.agreement)

    # -- teachers and pools --------------------------------------------------------------------

    def _take_teachers(self) -> None:
        state = self.setting.state
        models = models_of(state.recipe, self.mutual)
        for name, folder in zip(NAMES, self.mutual.teachers or (), strict=True):
            module = pair_of(state.teacher)[name]
            take_teacher(module, models[name].engine, self.setting.data.labelled.classes, folder)

    def _label(self, name: str, part: int, teacher: nn.Module) -> None:
        """Both teachers label the same images; what each says is kept in a file of its own."""
        for member in NAMES:
            seen = self.pools.see(part, pair_of(teacher)[member])
            self.pools.keep(f"{name}.{member}", seen)
        self.setting.state.facts.pool = name
        first, second = (pool.changed(certain) for pool in self._taught(name))
        self.pools.judge(first.beside(second))

    def _taught(self, name: str) -> tuple[Pool, Pool]:
        """What each student is taught: the other one's teacher's words, after its own was asked as well."""
        said = {member: self.pools.load(f"{name}.{member}") for member in NAMES}
        rule = self.mutual.agreement
        first, second = (said_by_two(said[other(n)], said[n], rule) for n in NAMES)
        return first, second

    def _feed(self) -> Any:
        name = self.setting.state.facts.pool
        pool = two_fold(*self._taught(name)) if name else None
        return feed_of(self.setting, self.mutual, pool, TwoFoldFeed)

    # -- what comes out ------------------------------------------------------------------------

    def averaged(self) -> nn.Module:
        return super().outcome()

    def outcome(self) -> nn.Module:
        """The chosen member; the first one until the run is over."""
        module: nn.Module = pair_of(self.averaged())[self.setting.state.facts.chosen or FIRST]
        return module

    def settle(self) -> None:
        super().settle()
        facts, data = self.setting.state.facts, self.setting.data
        if facts.chosen is not None:
            return
        both, device, crew = pair_of(self.averaged()), self.setting.state.device, self.setting.crew
        known = data.validation or data.labelled
        ap = {name: average_precision_of(both[name], known, device, crew) for name in NAMES}
        facts.chosen = max(NAMES, key=lambda name: ap[name])
        where = "validation" if data.validation is not None else "the labelled images"
        said = ", ".join(f"{name} {ap[name]:.3f}" for name in NAMES)
        self.setting.note(f"AP on {where}: {said}; the model is {facts.chosen}")

    def networks(self) -> dict[str, Trained]:
        both, chosen = pair_of(self.averaged()), self.setting.state.facts.chosen or FIRST
        models = models_of(self.setting.recipe, self.mutual)
        classes = self.setting.data.labelled.classes

        def trained(pair: nn.Module, name: str, folder: str) -> Trained:
            return Trained(pair_of(pair)[name], folder, models[name].engine, classes)

        return {
            "teacher": trained(both, chosen, "model"),
            "student": trained(self.setting.state.student, chosen, "student"),
            "partner": trained(both, other(chosen), "partner"),
        }
