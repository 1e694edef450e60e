"""Class-agnostic warm-up: a labeller without classes, the archive alone, and the labels with their classes at last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from organoseg.core import DataError
from organoseg.distill.branch import Branch
from organoseg.distill.descent import Descent, Report
from organoseg.distill.schedule import Phase
from organoseg.distill.weights import average_weights
from organoseg.io.instances_json import ORGANOID
from organoseg.models.agnostic import OneClass, predictor_parameters, target_of_one_class
from organoseg.models.protocol import Segmenter, Target
from organoseg.training import plan
from organoseg.training.crops import Crops, feed_of
from organoseg.training.methods import ClassAgnostic
from organoseg.training.pools import Pools
from organoseg.training.setting import Setting
from organoseg.training.stages.conductor import Conductor, NextLabelled, Trained

POOL = "warm_up"


class ClassAgnosticStages(Conductor):
    """Teacher, warm-up, fine-tuning. No step sees labels and archive together, so nothing has to be balanced."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        method = setting.recipe.method
        if not isinstance(method, ClassAgnostic):
            raise TypeError(f"{type(method).__name__} is not class-agnostic warm-up")
        predictor_parameters(
            setting.state.student
        )  # an engine that has none is refused before it trains
        self.method = method
        self.pools = Pools(setting, method, ORGANOID)
        self._crops = Crops(setting, self._feed, self.schedule.length(Phase.WARM_UP))

    @property
    def waited(self) -> float:
        return self._crops.waited

    def begin(self, step: int) -> bool:
        facts, phase = self.setting.state.facts, self.phase(step)
        if phase is not Phase.TEACHER and not facts.student:
            self._begin_warm_up()
        if phase is Phase.FINE_TUNE and not facts.told:
            self._begin_fine_tuning()
        return False

    def taught(self, targets: Sequence[Target]) -> list[Target]:
        if self.setting.state.facts.told:
            return list(targets)
        return [target_of_one_class(target) for target in targets]

    # -- learning rates ------------------------------------------------------------------------

    def rate(self, step: int) -> float:
        """Each stage has a schedule of its own: what one has learnt is annealed before the next begins."""
        phase, t = self.phase(step), self.setting.recipe.training
        position, length = step - self.schedule.start(phase), self.schedule.length(phase)
        factor = self.method.fine_tune_rate if phase is Phase.FINE_TUNE else 1.0
        return factor * plan.rate(position, length, min(t.warmup, length // 2), t.schedule)

    def set_rates(self, step: int) -> None:
        """The learning rates of a step; at first the predictor learns faster than what was taken over."""
        super().set_rates(step)
        if self.phase(step) is not Phase.FINE_TUNE:
            return
        slow = self.method.trunk_share * self.schedule.length(Phase.FINE_TUNE)
        if step - self.schedule.start(Phase.FINE_TUNE) < slow:
            for group in self.setting.state.optimiser.param_groups:
                if group["trunk"]:
                    group["lr"] *= self.method.trunk_rate

    def labellings(self, step: int) -> int:
        return int(not self.setting.state.facts.student)

    # -- steps ---------------------------------------------------------------------------------

    def step(self, step: int, switching: bool, labelled: NextLabelled, descent: Descent) -> Report:
        phase, state = self.phase(step), self.setting.state
        if phase is Phase.TEACHER:
            return super().step(step, switching, labelled, descent)
        if state.average is not None:
            average_weights(state.average, state.student, self.rules.average_decay)
        report = Report()
        branch = self._of_labels(labelled) if phase is Phase.FINE_TUNE else self._of_pool(step)
        if phase is Phase.WARM_UP:
            report.pseudo = list(branch.targets)
        student: Any = state.student
        descent(student, state.optimiser, [branch], report)
        return report

    def _of_labels(self, labelled: NextLabelled) -> Branch:
        pixels, targets = labelled()
        return Branch("labelled", pixels, targets)

    def _of_pool(self, step: int) -> Branch:
        batch = self._crops(step - self.schedule.start(Phase.WARM_UP))
        if batch.targets is None:
            raise TypeError("a pool's crops come with their targets")
        return Branch("unlabelled", self.moved(batch.strong), self.taught(batch.targets))

    def _feed(self) -> Any:
        return feed_of(self.setting, self.method, self.pools.current())

    # -- what begins when ----------------------------------------------------------------------

    def _begin_warm_up(self) -> None:
        state, method = self.setting.state, self.method
        if method.teacher is not None:
            labeller = take_labeller(method.teacher, self.setting)
        else:
            average_weights(state.teacher, state.student, self.rules.average_decay)
            labeller = state.teacher
        state.begin_student(method.average)
        self.pools.label(POOL, 0, labeller)
        state.facts.student = True

    def _begin_fine_tuning(self) -> None:
        state, method = self.setting.state, self.method
        self._crops.drop()
        if state.average is not None:
            average_weights(state.average, state.student, self.rules.average_decay)
        predictor = method.predictor_for(state.classes)
        kept = state.tell_classes(predictor)
        what = f"{len(kept)} tensors of the class predictor begin anew" if kept else "none is new"
        self.setting.note(f"fine-tuning on the labels begins: {what}")

    # -- what comes out ------------------------------------------------------------------------

    def outcome(self) -> nn.Module:
        state = self.setting.state
        if not state.facts.student:
            return state.teacher
        return state.average if state.average is not None else state.student

    def networks(self) -> dict[str, Trained]:
        found = super().networks()
        if self.method.save_labeller and self.method.teacher is None:
            engine = self.setting.recipe.model.engine
            labeller = Trained(self.setting.state.teacher, "labeller", engine, ORGANOID)
            found["labeller"] = labeller
        return found

    def close(self) -> None:
        self._crops.drop()


def take_labeller(folder: Path, setting: Setting) -> nn.Module:
    """A trained model of any engine as labeller; what it tells apart counts as one class.

    Raises
    ------
    DataError
        It knows several classes, and among them some that the labels do not: they might be no organoids.
    """
    from organoseg.models.folder import load_module

    module, description = load_module(folder)
    ours = set(setting.data.labelled.classes.values())
    other = sorted(set(description.classes.values()) - ours)
    if len(description.classes) > 1 and other:
        raise DataError(
            f"the teacher tells classes apart that the labels do not have: {', '.join(other)}",
            where=folder,
            remedy="Give a teacher of one class, or of the labels' classes, or null to train one.",
        )
    segmenter: Segmenter = module  # type: ignore[assignment]
    return OneClass(segmenter).to(setting.state.device)
