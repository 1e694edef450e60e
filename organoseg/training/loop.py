"""The loop: stages, checkpoints, validation, and a stop at any moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from organoseg.core import DataError, RunError
from organoseg.distill.calibrate import calibrated_threshold
from organoseg.distill.guard import judge
from organoseg.distill.iteration import Iteration
from organoseg.distill.monitor import Monitor
from organoseg.distill.schedule import Phase
from organoseg.distill.views import STRONG
from organoseg.distill.weights import average_weights, copy_weights
from organoseg.training import checkpoint as files
from organoseg.training import plan
from organoseg.training.data import RunData
from organoseg.training.feed import LabelledFeed, Prefetch, UnlabelledFeed
from organoseg.training.progress import Journal, Reporter
from organoseg.training.recipe import Guided, Recipe
from organoseg.training.state import State
from organoseg.training.validation import average_precision_of

CALIBRATION_BATCHES = 16
MOST_POSTPONEMENTS = 3
#: The student may be this much behind at the switch: on held-out images, and on images both were trained on.
TOLERANCE, TOLERANCE_TRAINED = 0.02, 0.10
LOG_EVERY = 10


class Stopped(RunError):
    """The run was told to stop (SIGTERM); its checkpoint is written."""

    exit_code = 143


class Loop:
    """One run, from its first or from any later step."""

    def __init__(
        self,
        recipe: Recipe,
        data: RunData,
        out: Path,
        accelerator: Any,
        reporter: Reporter,
        identity: dict[str, Any],
    ) -> None:
        self.recipe, self.data, self.out = recipe, data, out
        self.accelerator, self.report, self.identity = accelerator, reporter, identity
        self.schedule = plan.schedule_of(recipe)
        self.state = State(recipe, tuple(data.labelled.classes), accelerator.device)
        self.rules = plan.rules_of(recipe)
        geometry, t, seed = plan.geometry_of(recipe), recipe.training, recipe.seed
        self._labelled = LabelledFeed(data.labelled, t.batch, seed, geometry)
        self._unlabelled: UnlabelledFeed | None = None
        if isinstance(recipe.method, Guided) and data.unlabelled is not None:
            size = recipe.method.unlabelled_batch or t.batch
            self._unlabelled = UnlabelledFeed(data.unlabelled, size, seed, geometry, STRONG)
        self._monitor = Monitor([x for k in range(8) for x in self._labelled(k).targets])
        self._stop = threading.Event()
        self.seconds: dict[str, float] = {}

    # -- stages ------------------------------------------------------------------------------

    def phase(self, step: int) -> Phase:
        """The stage of a step; the guard may have put the switch off."""
        phase = self.schedule.phase(step)
        if phase is Phase.MUTUAL:
            facts = self.state.facts
            if facts.never or step < self.schedule.start(Phase.MUTUAL) + facts.postponed:
                return Phase.BURN_IN
        return phase

    def _begin(self, step: int) -> None:
        """What has to happen before ``step`` because a stage begins there."""
        method, state = self.recipe.method, self.state
        if not isinstance(method, Guided):
            return
        if step == self.schedule.teacher and state.facts.accept is None:
            self._begin_student(method)
        phase = self.phase(step)
        if phase is Phase.MUTUAL and not state.facts.switched:
            self._consider_switch(step, method)
        elif phase is Phase.REFINE and not state.facts.switched:
            # Nobody labels any more: the teacher becomes the student's average, guard or no guard.
            state.facts.switched = self._switching = True

    def _begin_student(self, method: Guided) -> None:
        state = self.state
        if method.teacher is not None:
            self._take_teacher(method.teacher)
        elif self.schedule.teacher:
            average_weights(state.teacher, state.student, self.rules.decay)
        state.begin_student(method.average)
        state.facts.accept = self._calibrate(method)
        self._note(f"student begins; pseudo-labels teach from score {state.facts.accept:.3f}")

    def _take_teacher(self, folder: Path) -> None:
        from organoseg.models.folder import load_module

        module, description = load_module(folder)
        fits = (
            description.engine == self.recipe.model.engine
            and tuple(description.classes) == self.state.classes
            and _shapes(module) == _shapes(self.state.teacher)
        )
        if not fits:
            raise DataError(
                "the teacher has another engine, other options or other classes than this run",
                where=folder,
                remedy="Write the engine and options of its model.yaml into the recipe's model section.",
            )
        copy_weights(self.state.teacher, module.to(self.state.device))

    def _calibrate(self, method: Guided) -> float:
        if not method.calibrate or method.filter == "paper" or self._unlabelled is None:
            return method.accept
        labeller = plan.labeller_of(self.recipe, method.ignore)
        predicted, labelled = [], []
        for k in range(CALIBRATION_BATCHES):
            weak = self._unlabelled(k).weak.to(self.state.device)
            predicted += labeller.predict(self.state.teacher, weak)  # type: ignore[arg-type]
            labelled += self._labelled(k).targets
        return calibrated_threshold(predicted, labelled, max(method.ignore, 0.3), 0.9)

    def _consider_switch(self, step: int, method: Guided) -> None:
        state = self.state
        source = state.average if state.average is not None else state.student
        if method.guard and not self._may_switch(source):
            facts = state.facts
            facts.postponements += 1
            facts.postponed += max(self.schedule.student // 10, 1)
            if facts.postponements >= MOST_POSTPONEMENTS:
                facts.never = True
                self._note(
                    "the student stays behind: no switch, the first teacher labels to the end"
                )
            return
        state.facts.switched = True
        self._switching = True

    def _may_switch(self, student: nn.Module) -> bool:
        held_out = self.data.validation is not None
        dataset = self.data.validation or self.data.labelled
        verdict = judge(
            average_precision_of(student, dataset, self.state.device),
            average_precision_of(self.state.teacher, dataset, self.state.device),
            TOLERANCE if held_out else TOLERANCE_TRAINED,
            "validation" if held_out else "the labelled images (no validation set)",
        )
        self._note(verdict.reason)
        return verdict.switch

    def _note(self, text: str) -> None:
        self.state.facts.notes.append(f"step {self.state.facts.step}: {text}")
        self.report("note", {"step": self.state.facts.step, "text": text})

    # -- the loop ----------------------------------------------------------------------------

    def run(self) -> State:
        """Train to the end.

        Raises
        ------
        RunError
            The loss is not finite, or the run was told to stop. Checkpoints are whole.
        """
        state, total = self.state, self.schedule.total
        journal = Journal(self.out)
        journal.forget_after(state.facts.step)
        feeds = (Prefetch(self._labelled), Prefetch(self._unlabelled) if self._unlabelled else None)
        self.report("start", {"step": state.facts.step, "steps": total})
        start, first = perf_counter(), state.facts.step
        try:
            with self._listening():
                while state.facts.step < total:
                    self._one(state.facts.step, feeds, journal)
            self._settle()
            self._validate(journal)
            self._save()
        finally:
            for feed in feeds:
                if feed is not None:
                    feed.close()
            journal.close()
        seconds = perf_counter() - start
        waited = sum(feed.waited for feed in feeds if feed is not None)
        self.seconds = {
            "train": seconds,
            "steps": total - first,
            "waiting_share": waited / max(seconds, 1e-9),
        }
        self.report("end", self.seconds)
        return state

    def _settle(self) -> None:
        """The last step's student enters its average: once, however often the end is resumed."""
        state, outcome = self.state, self.outcome()
        if not state.facts.finished and outcome is not state.student:
            average_weights(outcome, state.student, self.rules.decay)
        state.facts.finished = True

    def _one(self, step: int, feeds: tuple[Any, Any], journal: Journal) -> None:
        state, t = self.state, self.recipe.training
        self._switching = False
        self._begin(step)
        phase, device = self.phase(step), state.device
        self._set_rate(step)
        state.student.train()
        iteration = self._iteration()

        def next_unlabelled() -> tuple[torch.Tensor, torch.Tensor]:
            batch = feeds[1](step - self.schedule.teacher)
            return batch.weak.to(device), batch.strong.to(device)

        def next_labelled() -> tuple[torch.Tensor, list[Any]]:
            batch = feeds[0](step)
            return batch.pixels.to(device), batch.targets

        result = iteration(phase, self._switching, next_unlabelled, next_labelled)
        if self._switching:
            state.average = None  # from here on the teacher is the student's average
        self._monitor.see(result.pseudo)
        state.facts.step = step + 1
        self.report(
            "step",
            {
                "step": step + 1,
                "steps": self.schedule.total,
                "phase": str(phase),
                "loss": result.total,
            },
        )
        if (step + 1) % LOG_EVERY == 0:
            self._log(journal, phase, result)
        if (step + 1) % t.validate_every == 0 and step + 1 < self.schedule.total:
            self._validate(journal)
        if (step + 1) % t.checkpoint_every == 0 or self._stop.is_set():
            self._save()
        if self._stop.is_set():
            raise Stopped("the run was told to stop", where=self.out, remedy="Go on with --resume.")

    def _iteration(self) -> Iteration:
        state = self.state
        return Iteration(
            state.student,  # type: ignore[arg-type]
            state.teacher,  # type: ignore[arg-type]
            state.optimiser,
            plan.labeller_of(self.recipe, state.facts.accept),
            self.rules,
            average=state.average,  # type: ignore[arg-type]
            backward=self.accelerator.backward,
            autocast=self.accelerator.autocast,
        )

    def _set_rate(self, step: int) -> None:
        teaching = step < self.schedule.teacher
        length = self.schedule.teacher if teaching else self.schedule.student
        position = step if teaching else step - self.schedule.teacher
        for group in self.state.optimiser.param_groups:
            group["lr"] = group["base_lr"] * plan.rate(
                position, length, self.recipe.training.warmup
            )

    def _log(self, journal: Journal, phase: Phase, result: Any) -> None:
        step = self.state.facts.step
        journal.write(
            step,
            "train",
            {
                "phase": str(phase),
                "loss": result.total,
                "gradient": result.gradient,
                **result.losses,
            },
        )
        facts = self._monitor.report()
        if facts:
            journal.write(step, "pseudo_labels", facts)
            warning = self._monitor.warning(facts) if step % (5 * LOG_EVERY) == 0 else None
            if warning:
                self.report("warning", {"step": step, "text": warning})

    def outcome(self) -> nn.Module:
        """The network a run is for: the student's running average, or the student where none is kept."""
        state = self.state
        if state.average is not None:
            return state.average
        frozen_teacher = state.facts.accept is not None and not state.facts.switched
        return state.student if frozen_teacher else state.teacher

    def _validate(self, journal: Journal) -> None:
        if self.data.validation is None:
            return
        state = self.state
        ap = average_precision_of(self.outcome(), self.data.validation, state.device)
        journal.write(state.facts.step, "validation", {"AP": ap})
        self.report("validate", {"step": state.facts.step, "AP": ap})
        if ap > state.facts.best and self.phase(max(state.facts.step - 1, 0)) == self._last_phase():
            state.facts.best = ap
            files.write(self.out / "checkpoints" / files.BEST, state.checkpoint(self.identity))

    def _last_phase(self) -> Phase:
        return self.phase(self.schedule.total - 1)

    def _save(self) -> None:
        folder, keep = self.out / "checkpoints", self.recipe.training.keep
        files.save_step(folder, self.state.facts.step, self.state.checkpoint(self.identity), keep)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """SIGTERM (a cluster's time limit) ends the run after the step under way, with a checkpoint."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {k: v.shape for k, v in module.state_dict().items()}
