"""What leads a run through its stages; by itself it trains on labels alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from organoseg.distill.descent import Descent, Report
from organoseg.distill.iteration import Iteration
from organoseg.distill.schedule import Phase
from organoseg.distill.weights import average_weights
from organoseg.models.protocol import Segmenter, Target
from organoseg.training import plan
from organoseg.training.setting import Setting

NextLabelled = Callable[[], tuple[torch.Tensor, list[Target]]]


@dataclass(frozen=True, eq=False)
class Trained:
    """A network that a run leaves behind.

    Parameters
    ----------
    folder
        Its place in the run folder.
    classes
        Names of what it tells apart.
    """

    module: nn.Module
    folder: str
    engine: str
    classes: Mapping[int, str]


class Conductor:
    """The stages of a run: what a step is made of, and what has to happen before it.

    The base is the supervised run; every method is a conductor that says what is different. A conductor keeps
    nothing of its own that a resumed run would miss: what changes while a run goes is in `State`.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.schedule = plan.schedule_of(setting.recipe)
        self.rules = plan.rules_of(setting.recipe)

    # -- what a loop asks ----------------------------------------------------------------------

    @property
    def waited(self) -> float:
        """Seconds spent waiting for unlabelled batches."""
        return 0.0

    def phase(self, step: int) -> Phase:
        """The stage of a step."""
        return self.schedule.phase(step)

    def called(self, phase: Phase) -> str:
        """A stage as a person is told of it. Records keep its name."""
        # A run on labels alone has the first stage only, and no one to teach.
        return "supervised" if self.schedule.teacher == self.schedule.total else str(phase)

    def labellings(self, step: int) -> int:
        """How often the archive will be labelled, as a whole, after ``step``."""
        return 0

    def begin(self, step: int) -> bool:
        """Do what has to happen before ``step``; True where the teacher becomes the student's copy."""
        return False

    def rate(self, step: int) -> float:
        """Factor of every learning rate at a step: each of the teacher and the student has a schedule of its own."""
        teaching = step < self.schedule.teacher
        length = self.schedule.teacher if teaching else self.schedule.student
        position = step if teaching else step - self.schedule.teacher
        t = self.setting.recipe.training
        return plan.rate(position, length, t.warmup, t.schedule)

    def set_rates(self, step: int) -> None:
        """The learning rates of a step."""
        factor = self.rate(step)
        for group in self.setting.state.optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor

    def taught(self, targets: Sequence[Target]) -> list[Target]:
        """Labels as the student of the moment learns them."""
        return list(targets)

    def step(self, step: int, switching: bool, labelled: NextLabelled, descent: Descent) -> Report:
        """One step of the student; ``switching`` is what `begin` said of it.

        Raises
        ------
        RunError
            The loss or its gradient is not finite. The student is as it was before this step.
        """
        iteration = self._iteration(plan.labeller_of(self.setting.recipe, None), descent)
        return iteration(self.phase(step), False, _none, labelled)

    def outcome(self) -> nn.Module:
        """The network a run is for, as it stands: the student's running average where one is kept."""
        return self.setting.state.teacher

    def averaged(self) -> nn.Module:
        """What the student enters into as it trains; what a run is for is this, or a part of it."""
        return self.outcome()

    def settle(self) -> None:
        """The last step's student enters its average: once, however often the end is resumed."""
        state, outcome = self.setting.state, self.averaged()
        if not state.facts.finished and outcome is not state.student:
            alone = state.average is not None or not state.facts.student
            decay = self.rules.average_decay if alone else self.rules.decay
            average_weights(outcome, state.student, decay)
        state.facts.finished = True

    def networks(self) -> dict[str, Trained]:
        """What is saved at the end, by its name in ``result.json``; the first is the one to use."""
        return {
            "teacher": self.trained(self.outcome(), "model"),
            "student": self.trained(self.setting.state.student, "student"),
        }

    def close(self) -> None:
        """Stop making batches ahead."""

    # -- for those that inherit ----------------------------------------------------------------

    def trained(self, module: nn.Module, folder: str) -> Trained:
        """A network of the recipe's engine, for the classes of the labels."""
        s = self.setting
        return Trained(module, folder, s.recipe.model.engine, s.data.labelled.classes)

    def moved(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels on the run's device."""
        return pixels.to(self.setting.state.device, non_blocking=True)

    def _iteration(
        self, labeller: Callable[[Segmenter, torch.Tensor], list[Target]], descent: Descent
    ) -> Iteration:
        state = self.setting.state
        return Iteration(
            state.student,  # type: ignore[arg-type]
            state.teacher,  # type: ignore[arg-type]
            state.optimiser,
            labeller,
            self.rules,
            average=state.average,  # type: ignore[arg-type]
            descent=descent,
        )


def _none() -> tuple[torch.Tensor, torch.Tensor]:
    raise TypeError("a supervised run asked for unlabelled images")
