"""Guided distillation: when a stage begins, who labels the archive in it, and whether the switch may happen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from organoseg.core import DataError
from organoseg.distill.descent import Descent, Report
from organoseg.distill.guard import judge
from organoseg.distill.schedule import Phase
from organoseg.distill.weights import average_weights, copy_weights
from organoseg.models.protocol import Segmenter, Target
from organoseg.training import plan
from organoseg.training.checks import check_teacher
from organoseg.training.crops import Crops, feed_of
from organoseg.training.feed import UnlabelledBatch
from organoseg.training.methods import Guided, TeacherStudent
from organoseg.training.pools import Pools
from organoseg.training.setting import Setting
from organoseg.training.stages.conductor import Conductor, NextLabelled
from organoseg.training.validation import average_precision_of

MOST_POSTPONEMENTS = 3
#: The student may be this much behind at the switch: its learning rate is still high, the teacher was annealed;
#: on images that both were trained on only a collapse can be told.
TOLERANCE, TOLERANCE_TRAINED = 0.05, 0.25


class SwitchingStages(Conductor, ABC):
    """Teacher, burn-in, mutual stage, refinement: of one student, or of what trains as one."""

    def __init__(self, setting: Setting, method: TeacherStudent) -> None:
        super().__init__(setting)
        self.method = method
        self.pools = Pools(setting, method)
        first, end = self.schedule.teacher, self.schedule.start(Phase.REFINE)
        self._crops = Crops(setting, self._feed, end - first)

    @property
    def waited(self) -> float:
        return self._crops.waited

    def phase(self, step: int) -> Phase:
        """The stage of a step; the guard may have put the switch off."""
        phase, facts = self.schedule.phase(step), self.setting.state.facts
        if phase is Phase.MUTUAL and (
            facts.never or step < self.schedule.start(Phase.MUTUAL) + facts.postponed
        ):
            return Phase.BURN_IN
        return phase

    def labellings(self, step: int) -> int:
        facts, method = self.setting.state.facts, self.method
        if not method.pool:
            return 0
        at_burn_in = not facts.student and self.rules.burn_in_distils
        switches = bool(self.schedule.length(Phase.MUTUAL)) and not (facts.switched or facts.never)
        return int(at_burn_in) + int(switches and method.relabel)

    def begin(self, step: int) -> bool:
        facts = self.setting.state.facts
        if step == self.schedule.teacher and not facts.student:
            self._begin_student()
        phase = self.phase(step)
        if phase is Phase.MUTUAL and not facts.switched:
            facts.switched = self._may_switch()
            if facts.switched and self.method.pool:
                self._hand_over()
            return facts.switched
        if phase is Phase.REFINE and not facts.switched:
            # Nobody labels any more: the teacher becomes the student's average, guard or no guard.
            facts.switched = True
            return True
        return False

    def outcome(self) -> nn.Module:
        state = self.setting.state
        if state.average is not None:
            return state.average
        frozen_teacher = state.facts.student and not state.facts.switched
        return state.student if frozen_teacher else state.teacher

    def close(self) -> None:
        self._crops.drop()

    # -- teacher and student -----------------------------------------------------------------

    def _begin_student(self) -> None:
        method, state = self.method, self.setting.state
        if method.has_teacher:
            self._take_teachers()
        elif self.schedule.teacher:
            average_weights(state.teacher, state.student, self.rules.average_decay)
        state.begin_student(method.average)
        state.facts.student = True
        if method.pool and self.rules.burn_in_distils:
            self._label("burn_in", 0, state.teacher)

    def _hand_over(self) -> None:
        """The student's average, teacher from this step on, labels a pool of its own, or every batch."""
        self._crops.drop()  # what reads ahead must not read while the pool is labelled
        state = self.setting.state
        if self.method.relabel:
            self._label("mutual", 1, state.average or state.student)
        else:
            state.facts.pool = None

    def _may_switch(self) -> bool:
        state, data = self.setting.state, self.setting.data
        facts = state.facts
        if not self.method.guard:
            return True
        held_out = data.validation is not None
        dataset, crew = data.validation or data.labelled, self.setting.crew
        student = state.average if state.average is not None else state.student
        verdict = judge(
            average_precision_of(student, dataset, state.device, crew),
            average_precision_of(state.teacher, dataset, state.device, crew),
            TOLERANCE if held_out else TOLERANCE_TRAINED,
            "validation" if held_out else "the labelled images (no validation set)",
        )
        self.setting.note(verdict.reason)
        if verdict.switch:
            return True
        facts.postponements += 1
        facts.postponed += max(self.schedule.student // 10, 1)
        if facts.postponements >= MOST_POSTPONEMENTS:
            facts.never = True
            self.setting.note(
                "the student stays behind: no switch, the first teacher labels to the end"
            )
        return False

    @abstractmethod
    def _take_teachers(self) -> None:
        """The trained models that the recipe names become the run's teachers."""

    def _label(self, name: str, part: int, teacher: nn.Module) -> None:
        """Label a part of the archive and make it the pool in use, under a name."""
        self.pools.label(name, part, teacher)

    def _feed(self) -> Any:
        return feed_of(self.setting, self.method, self.pools.current())


class GuidedStages(SwitchingStages):
    """The stages of guided distillation."""

    def __init__(self, setting: Setting) -> None:
        method = setting.recipe.method
        if not isinstance(method, Guided):
            raise TypeError(f"{type(method).__name__} is not guided distillation")
        super().__init__(setting, method)
        self.guided = method

    def step(self, step: int, switching: bool, labelled: NextLabelled, descent: Descent) -> Report:
        batches: list[UnlabelledBatch] = []

        def unlabelled() -> tuple[torch.Tensor, torch.Tensor]:
            batches.append(self._crops(step - self.schedule.teacher))
            return self.moved(batches[-1].weak), self.moved(batches[-1].strong)

        online = plan.labeller_of(self.setting.recipe, self.setting.state.facts.sharpness)

        def label(teacher: Segmenter, weak: torch.Tensor) -> list[Target]:
            known = batches[-1].targets
            return known if known is not None else online(teacher, weak)

        iteration = self._iteration(label, descent)
        report = iteration(self.phase(step), switching, unlabelled, labelled)
        if switching:
            self.setting.state.average = None  # from here on the teacher is the student's average
        return report

    def _take_teachers(self) -> None:
        if self.guided.teacher is not None:
            state = self.setting.state
            engine = state.recipe.model.engine
            take_teacher(
                state.teacher, engine, self.setting.data.labelled.classes, self.guided.teacher
            )

    def _label(self, name: str, part: int, teacher: nn.Module) -> None:
        folder = self.guided.second_teacher if part == 0 else None
        self.pools.label(name, part, teacher, self._second(folder) if folder else None)

    def _second(self, folder: Path) -> nn.Module:
        """The teacher that is only asked, of whatever engine. DataError where it knows other classes."""
        from organoseg.models.folder import load_module

        module, description = load_module(folder)
        check_teacher(description.classes, self.setting.data.labelled.classes, folder)
        return module.to(self.setting.state.device)


def take_teacher(teacher: nn.Module, engine: str, classes: Mapping[int, str], folder: Path) -> None:
    """A trained model's weights become those of a teacher.

    Raises
    ------
    DataError
        Its engine, options or classes are not those of the run.
    """
    from organoseg.models.folder import load_module

    module, description = load_module(folder)
    check_teacher(description.classes, classes, folder)
    fits = (
        description.engine == engine
        and _shapes(module) == _shapes(teacher)
        and _layout(module) == _layout(teacher)
    )
    if not fits:
        raise DataError(
            "the teacher has another engine or other options than this run",
            where=folder,
            remedy="Write the engine and options of its model.yaml into the recipe's model section.",
        )
    copy_weights(teacher, module)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {k: v.shape for k, v in module.state_dict().items()}


def _layout(module: nn.Module) -> Any:
    """What an engine's weights do not show by their shapes, such as the sizes of its anchors."""
    return getattr(module, "layout", None)
