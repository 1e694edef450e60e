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

from organoseg.core import RunError
from organoseg.distill.descent import Descent
from organoseg.distill.monitor import Monitor
from organoseg.distill.schedule import Phase
from organoseg.models.protocol import Target
from organoseg.models.statistics import statistics_of
from organoseg.training import checkpoint as files
from organoseg.training import memory, plan
from organoseg.training.ahead import Prefetch, workers_of
from organoseg.training.crew import crew_of
from organoseg.training.data import RunData
from organoseg.training.feed import LabelledBatch, LabelledFeed, Share
from organoseg.training.meter import Meter
from organoseg.training.preview import look, write_samples
from organoseg.training.progress import Journal, Reporter
from organoseg.training.recipe import Recipe
from organoseg.training.setting import Setting
from organoseg.training.stages import conductor_of
from organoseg.training.state import State

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
        self.crew = crew_of(accelerator)
        scaler = getattr(accelerator, "scaler", None)
        statistics = statistics_of(data.labelled, recipe.training.augmentation.scale)
        classes = tuple(data.labelled.classes)
        self.state = State(recipe, classes, accelerator.device, scaler, statistics)
        share = Share(self.crew.rank, self.crew.size)
        on_gpu = accelerator.device.type == "cuda"
        self.workers = workers_of(recipe.training.workers, on_gpu, self.crew.size)
        self._stop = threading.Event()
        self.stages = conductor_of(
            Setting(
                recipe, data, out, self.state, accelerator.autocast, self._note, self._labelling,
                self.crew, self.workers, self._stop.is_set,
            )
        )  # fmt: skip
        self.schedule, self.rules = self.stages.schedule, self.stages.rules
        self._labelled = LabelledFeed(
            data.labelled, recipe.training.batch, recipe.seed, plan.geometry_of(recipe),
            plan.weak_of(recipe), share,
        )  # fmt: skip
        self._monitor = Monitor([x for k in range(8) for x in self._labelled(k).targets])
        self._descent: Descent | None = None
        self.meter = Meter(accelerator.device)
        self.seconds: dict[str, Any] = {}

    def _note(self, text: str) -> None:
        self.state.facts.notes.append(f"step {self.state.facts.step}: {text}")
        self.report("note", {"step": self.state.facts.step, "text": text})

    def _labelling(self, done: int, images: int) -> None:
        facts = {"step": self.state.facts.step, "done": done, "images": images}
        self.report("label", facts)

    def looking(self, what: str, done: int, images: int) -> None:
        """Say how far a look at labelled images is."""
        facts = {"step": self.state.facts.step, "what": what, "done": done, "images": images}
        self.report("look", facts)

    # -- the loop ----------------------------------------------------------------------------

    def run(self) -> State:
        """Train to the end.

        Raises
        ------
        RunError
            The loss is not finite, or the run was told to stop. Checkpoints are whole.
        """
        state, total = self.state, self.schedule.total
        journal = Journal(self.out, self.crew.main)
        journal.forget_after(state.facts.step)
        feed = Prefetch(self._labelled, self.workers, total, self._stop.is_set)
        self.report("start", {"step": state.facts.step, "steps": total})
        start, first = perf_counter(), state.facts.step
        try:
            with self._listening():
                while state.facts.step < total:
                    self._one(state.facts.step, feed, journal)
            self.stages.settle()
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
            "processes": self.crew.size,
            "parts": self._descent.parts if self._descent else 1,
            **self.meter.summary(),
        }
        lost = self.data.unlabelled.lost if self.data.unlabelled is not None else 0
        if lost:
            text = (
                f"{lost} chunks of the archive are lost or damaged; other places were drawn instead"
            )
            self.report("warning", {"step": state.facts.step, "text": text})
        return state

    def _one(self, step: int, feed: Prefetch[LabelledBatch], journal: Journal) -> None:
        state, t = self.state, self.recipe.training
        switching = self.stages.begin(step)
        phase = self.stages.phase(step)
        self.stages.set_rates(step)
        state.student.train()
        start, waited = perf_counter(), feed.waited + self.stages.waited

        def next_labelled() -> tuple[torch.Tensor, list[Target]]:
            batch = feed(step)
            return self.stages.moved(batch.pixels), self.stages.taught(batch.targets)

        if self._descent is None:
            self._descent = self._new_descent()
        result = self.stages.step(step, switching, next_labelled, self._descent)
        waited = feed.waited + self.stages.waited - waited
        self.meter.step(str(phase), perf_counter() - start, waited, result.crops)
        self._monitor.see(result.pseudo)
        state.facts.step = step + 1
        self.report(
            "step",
            {
                "step": step + 1,
                "steps": self.schedule.total,
                "phase": self.stages.called(phase),
                "loss": result.total,
                "labellings": self.stages.labellings(step + 1),
            },
        )
        # All processes stop at the same step, whichever of them was told to.
        told = self._stop.is_set() if self.crew.size == 1 else self.crew.any(self._stop.is_set())
        if (step + 1) % LOG_EVERY == 0:
            self._log(journal, phase, result)
        if (step + 1) % t.validate_every == 0 and step + 1 < self.schedule.total:
            self._validate(journal)
        if (step + 1) % t.checkpoint_every == 0 or told:
            self._save()
        if told:
            raise Stopped("the run was told to stop", where=self.out, remedy="Go on with --resume.")

    def _new_descent(self) -> Descent:
        """How a batch is computed on this machine: in as few parts as its memory allows."""
        state, t, device = self.state, self.recipe.training, self.state.device

        def crops(n: int) -> tuple[torch.Tensor, list[Target]]:
            batch = self._labelled(0)
            index = [k % len(batch.targets) for k in range(n)]
            some = self.stages.taught([batch.targets[k] for k in index])
            return batch.pixels[index].to(device), some

        archive = self.recipe.method.archive_batch(t.batch)
        mine = [-(-n // self.crew.size) for n in (t.batch, archive) if n]
        state.student.train()
        parts, said = memory.parts_of(
            t.accumulate,
            mine,
            device,
            lambda: memory.measured(state.student, crops, self.accelerator.autocast, device),
            lambda: memory.free_bytes(device),
        )
        if self.crew.size > 1:
            parts = max(self.crew.gather([parts]))
        if said and parts > 1:
            self._note(said)
        if parts > 1 and _learns_statistics(state.student):
            self._note(
                f"batch statistics are those of one of {parts} parts of a batch: with model.options.frozen_norms "
                "true they would not matter"
            )
        return Descent(
            self.rules.clip,
            backward=self.accelerator.backward,
            autocast=self.accelerator.autocast,
            scaler=state.scaler,
            crew=self.crew,
            parts=parts,
            note=self._note,
        )

    def _log(self, journal: Journal, phase: Phase, result: Any) -> None:
        step = self.state.facts.step
        journal.write(
            step,
            "train",
            {
                "phase": str(phase),
                "loss": result.total,
                "gradient": None if result.skipped else result.gradient,
                **result.losses,
            },
        )
        journal.write(step, "cost", self.meter.now())
        facts = self._monitor.report()
        if facts:
            journal.write(step, "pseudo_labels", facts)
            warning = self._monitor.warning(facts) if step % (5 * LOG_EVERY) == 0 else None
            if warning:
                self.report("warning", {"step": step, "text": warning})

    def _validate(self, journal: Journal) -> None:
        if self.data.validation is None:
            return
        state = self.state
        seen = look(
            self.stages.outcome(), self.data.validation, state.device, self.crew,
            lambda done, images: self.looking("looking at the validation images", done, images),
        )  # fmt: skip
        journal.write(state.facts.step, "validation", seen.facts())
        if self.crew.main:
            write_samples(self.out, state.facts.step, seen)
        self.report("validate", {"step": state.facts.step, **seen.facts()})
        if (
            seen.ap > state.facts.best
            and self.stages.phase(max(state.facts.step - 1, 0)) == self._last_phase()
        ):
            state.facts.best = seen.ap
            saved = state.checkpoint(self.identity, self.crew)
            if self.crew.main:
                files.write(self.out / "checkpoints" / files.BEST, saved)

    def _last_phase(self) -> Phase:
        return self.stages.phase(self.schedule.total - 1)

    def _save(self) -> None:
        folder, keep = self.out / "checkpoints", self.recipe.training.keep
        saved = self.state.checkpoint(self.identity, self.crew)
        if self.crew.main:
            files.save_step(folder, self.state.facts.step, saved, keep)
        self.crew.wait()

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


def _learns_statistics(module: nn.Module) -> bool:
    """Whether batch normalisation sees, and learns, the statistics of what is computed together."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return any(m.training and m.track_running_stats for m in norms)
