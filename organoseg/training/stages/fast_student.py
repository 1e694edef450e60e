"""The fast student's run: its teacher stays as it is, whatever engine it has, and is no part of the checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from organoseg.core import DataError, UsageError, normalised
from organoseg.distill.descent import Descent, Report
from organoseg.distill.imitate import ImitationStep, SoftLabeller, Unlabelled, check_student
from organoseg.distill.pseudo_labels import OrganoidFilter
from organoseg.distill.schedule import Phase
from organoseg.distill.weights import freeze
from organoseg.models.folder import ModelDescription, load_module
from organoseg.models.imitation import Imitation
from organoseg.models.soft import SoftSegmenter
from organoseg.training import plan
from organoseg.training.checks import check_teacher
from organoseg.training.crops import Crops, feed_of
from organoseg.training.feed import UnlabelledBatch
from organoseg.training.methods import FastStudent
from organoseg.training.setting import Setting
from organoseg.training.stages.conductor import Conductor, NextLabelled

#: Images of each kind that the teacher is asked about before it teaches.
ASKED = 12


class FastStudentStages(Conductor):
    """Imitation, then, where the recipe wants it, labels alone."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        method, recipe, state = setting.recipe.method, setting.recipe, setting.state
        if not isinstance(method, FastStudent):
            raise TypeError(f"{type(method).__name__} has no fast student")
        self.method = method
        check_student(state.student, recipe.model.engine)
        self.teacher, self._description = _teacher_of(setting, method.teacher)
        filter_ = plan.filter_of(method, None)
        sharpness = method.sharpness if isinstance(filter_, OrganoidFilter) else 1.0
        self.labeller = SoftLabeller(
            filter_, method.teacher_zooms, lambda scores: scores**sharpness, method.match
        )
        self.imitation = Imitation(method.zero_order, method.first_order)
        steps = self.schedule.length(Phase.IMITATION)
        self._crops = Crops(setting, lambda: feed_of(setting, method, None), steps)

    @property
    def waited(self) -> float:
        return self._crops.waited

    def begin(self, step: int) -> bool:
        """Ask whether the teacher is the one that the run was started with, and sees anything at all."""
        facts, identity = self.setting.state.facts, self._description.identity
        if facts.teacher is None:
            self._introduce()
            facts.teacher = identity
        elif facts.teacher != identity:
            raise UsageError(
                f"the run was started with the teacher {facts.teacher}, and here is {identity}",
                where=self.method.teacher,
                remedy="Put the teacher back as it was, or start another run.",
            )
        return False

    def step(self, step: int, switching: bool, labelled: NextLabelled, descent: Descent) -> Report:
        if self.phase(step) is Phase.REFINE:
            return super().step(step, switching, labelled, descent)
        batches: list[UnlabelledBatch] = []

        def unlabelled() -> tuple[torch.Tensor, torch.Tensor]:
            batches.append(self._crops(step))
            return self.moved(batches[-1].weak), self.moved(batches[-1].strong)

        state = self.setting.state
        archive: Unlabelled | None = (
            unlabelled if self.setting.data.unlabelled is not None else None
        )
        one = ImitationStep(
            state.student,  # type: ignore[arg-type]
            state.teacher,  # type: ignore[arg-type]
            self.teacher,  # type: ignore[arg-type]
            state.optimiser,
            self.labeller,
            self.imitation,
            descent,
            unlabelled_weight=self.method.unlabelled_weight,
            decay=self.rules.average_decay,
        )
        return one(archive, labelled)

    def close(self) -> None:
        self._crops.drop()

    # -- the teacher ---------------------------------------------------------------------------

    @torch.no_grad()
    def _introduce(self) -> None:
        """A few images of each kind, so that a teacher of other images is known before the first step."""
        setting, method = self.setting, self.method
        items = list(setting.data.labelled)[:ASKED]
        seen = [self._count(normalised(i.image.plane(), i.name)) for i in items]
        drawn = sum(len(item.instances) for item in items)
        said = f"the teacher sees {sum(seen)} organoids in {len(items)} labelled images, people drew {drawn}"
        archive = 0
        if setting.data.unlabelled is not None:
            chosen = setting.source.draw(ASKED, 0)
            found = [self._count(setting.source.read(index).pixels) for index in chosen]
            archive = sum(found)
            said += f"; {archive} in {len(chosen)} images of the archive"
        if not sum(seen) and not archive:
            raise DataError(
                f"this teacher finds nothing: {said}",
                where=method.teacher,
                remedy="Take a model of such images, lower method.accept, or try it with organoseg predict.",
            )
        setting.note(said)
        if len(method.teacher_zooms) == 1 and not isinstance(self.teacher, SoftSegmenter):
            setting.note(
                f"the engine {self._description.engine} does not say how sure it is of a pixel: its masks are imitated "
                "as they are; several method.teacher_zooms would soften them"
            )

    def _count(self, pixels: NDArray[np.float32]) -> int:
        """Organoids in a picture from which the student would learn."""
        tensor = torch.from_numpy(pixels)[None, None].to(self.setting.state.device)
        target = self.labeller.label(self.teacher, tensor)[0]  # type: ignore[arg-type]
        return int((~target.ignored).sum())


def _teacher_of(setting: Setting, folder: Path) -> tuple[nn.Module, ModelDescription]:
    """The teacher on the run's device, frozen. DataError where it tells other classes apart."""
    module, description = load_module(folder)
    check_teacher(description.classes, setting.data.labelled.classes, folder)
    return freeze(module.to(setting.state.device)), description
