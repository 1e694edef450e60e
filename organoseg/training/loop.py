"""The loop: stages, checkpoints, validation, and a stop at any moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from organoseg.core import RunError
from organoseg.distill.iteration import Iteration
from organoseg.distill.monitor import Monitor
from organoseg.distill.schedule import Phase
from organoseg.distill.weights import average_weights
from organoseg.models.protocol import Target
from organoseg.models.statistics import statistics_of
from organoseg.training import checkpoint as files
from organoseg.training import plan
from organoseg.training.data import RunData
from organoseg.training.feed import LabelledBatch, LabelledFeed, Prefetch, UnlabelledBatch
from organoseg.training.progress import Journal, Reporter
from organoseg.training.recipe import Recipe
from organoseg.training.stages import Stages
from organoseg.training.state import State
from organoseg.training.validation import average_precision_of

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
        statistics = statistics_of(data.labelled, recipe.training.augmentation.scale)
        classes = tuple(data.labelled.classes)
        self.state = State(recipe, classes, accelerator.device, statistics)
        self.stages = Stages(
            recipe, data, out, self.state, accelerator.autocast, self._note, self._labelling
        )
        self.schedule, self.rules = self.stages.schedule, self.stages.rules
        self._labelled = LabelledFeed(
            data.labelled, recipe.training.batch, recipe.seed, plan.geometry_of(recipe)
        )
        self._monitor = Monitor([x for k in range(8) for x in self._labelled(k).targets])
        self._stop = threading.Event()
        self.seconds: dict[str, float] = {}

    def _note(self, text: str) -> None:
        self.state.facts.notes.append(f"step {self.state.facts.step}: {text}")
        self.report("note", {"step": self.state.facts.step, "text": text})

    def _labelling(self, done: int, images: int) -> None:
        facts = {"step": self.state.facts.step, "done": done, "images": images}
        self.report("label", facts)

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
        feed = Prefetch(self._labelled)
        self.report("start", {"step": state.facts.step, "steps": total})
        start, first = perf_counter(), state.facts.step
        try:
            with self._listening():
                while state.facts.step < total:
                    self._one(state.facts.step, feed, journal)
            self._settle()
            self._validate(journal)
            self._save()
        except BaseException:
            self.report("abort", {"step": state.facts.step})  # a bar must give the cursor back
            raise
        finally:
            feed.close()
            self.stages.close()
            journal.close()
        seconds = perf_counter() - start
        waited = feed.waited + self.stages.waited
        self.seconds = {
            "train": seconds,
            "steps": total - first,
            "waiting_share": waited / max(seconds, 1e-9),
        }
        lost = self.data.unlabelled.lost if self.data.unlabelled is not None else 0
        if lost:
            text = (
                f"{lost} chunks of the archive are lost or damaged; other places were drawn instead"
            )
            self.report("warning", {"step": state.facts.step, "text": text})
        self.report("end", self.seconds)
        return state

    def _settle(self) -> None:
        """The last step's student enters its average: once, however often the end is resumed."""
        state, outcome = self.state, self.outcome()
        if not state.facts.finished and outcome is not state.student:
            alone = state.average is not None or not state.facts.student
            decay = self.rules.average_decay if alone else self.rules.decay
            average_weights(outcome, state.student, decay)
        state.facts.finished = True

    def _one(self, step: int, feed: Prefetch[LabelledBatch], journal: Journal) -> None:
        state, t = self.state, self.recipe.training
        switching = self.stages.begin(step)
        phase, device = self.stages.phase(step), state.device
        self._set_rate(step)
        state.student.train()
        unlabelled: list[UnlabelledBatch] = []

        def next_unlabelled() -> tuple[torch.Tensor, torch.Tensor]:
            batch = self.stages.unlabelled(step)
            unlabelled.append(batch)
            return batch.weak.to(device), batch.strong.to(device)

        def next_labelled() -> tuple[torch.Tensor, list[Target]]:
            batch = feed(step)
            return batch.pixels.to(device), batch.targets

        iteration = self._iteration(self.stages.labeller(lambda: unlabelled[-1]))
        result = iteration(phase, switching, next_unlabelled, next_labelled)
        if switching:
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

    def _iteration(self, labeller: Callable[..., list[Target]]) -> Iteration:
        state = self.state
        return Iteration(
            state.student,  # type: ignore[arg-type]
            state.teacher,  # type: ignore[arg-type]
            state.optimiser,
            labeller,
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
        frozen_teacher = state.facts.student and not state.facts.switched
        return state.student if frozen_teacher else state.teacher

    def _validate(self, journal: Journal) -> None:
        if self.data.validation is None:
            return
        state = self.state
        ap = average_precision_of(self.outcome(), self.data.validation, state.device)
        journal.write(state.facts.step, "validation", {"AP": ap})
        self.report("validate", {"step": state.facts.step, "AP": ap})
        if (
            ap > state.facts.best
            and self.stages.phase(max(state.facts.step - 1, 0)) == self._last_phase()
        ):
            state.facts.best = ap
            files.write(self.out / "checkpoints" / files.BEST, state.checkpoint(self.identity))

    def _last_phase(self) -> Phase:
        return self.stages.phase(self.schedule.total - 1)

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
