"""Layers > Annotate > Train: start a training, watch it, leave it alone, come back, stop it, judge it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from organoseg.core import UsageError

from . import jobs, messages, models, rounds, settings
from .chart import Chart
from .conversion import labels_layer
from .recipes import recipe_for
from .sample_picture import SamplePicture
from .widgets import ModelChoice, button, note

if TYPE_CHECKING:
    import napari

_EVERY = 1000  # ms between looks at the run
_HINT = (
    "Training needs a recipe, or a folder that Review has exported to (Review > Use for training). "
    "It runs on its own: you may close napari and come back."
)


class TrainWidget(QWidget):
    """Choose what to learn from and where to put it, press Train, watch or leave."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        self.watch: jobs.Watch | None = None
        self.worker: Any = None
        self.source = QLineEdit()
        self.source.setPlaceholderText("recipe.yaml, or an exported folder")
        self.out = QLineEdit()
        self.out.setPlaceholderText("new folder for the run")
        self.steps = QSpinBox()
        self.steps.setRange(0, 1_000_000)
        self.steps.setSpecialValueText("as the recipe says")
        self.steps.setToolTip("600 steps do for 15 images; 900 and more may pay for 60.")
        self.before = ModelChoice("none: this is the first")
        if settings.recall("models", []):
            self.before.setCurrentIndex(1)  # the one that was added or trained last
        self.before.setToolTip("The new model is compared with it on the held-out images.")
        self.resume = QCheckBox("Go on with a run that was stopped")
        self.start = button("Train", self.run, "Starts a process of its own.")
        self.watch_again = button("Watch a run…", self.ask_for_run, "One started earlier.")
        self.stop = button("Stop", self.cancel, "Writes a checkpoint first; it can go on later.")
        self.judge = button(
            "Was it worth it?", self.ask_for_verdict, "Compares on held-out images."
        )
        self.progress = QProgressBar()
        self.chart = Chart()
        self.picture = SamplePicture()
        self.picture.clicked.connect(self._show_sample)
        self._measured: bool | None = None
        self.status = note(_HINT)
        self.verdict = note()
        self._timer = QTimer(self)
        self._timer.setInterval(_EVERY)
        self._timer.timeout.connect(self.look)
        self._arrange()
        self._come_back()
        self._show_buttons()

    def _arrange(self) -> None:
        form = QFormLayout()
        form.addRow("Learn from", _with(self.source, button("…", self._ask_source)))
        form.addRow("Run folder", _with(self.out, button("…", self._ask_out)))
        form.addRow("Steps", self.steps)
        form.addRow("Model before", self.before)
        form.addRow("", self.resume)
        pressed = QHBoxLayout()
        pressed.addWidget(self.start, 1)
        pressed.addWidget(self.stop)
        pressed.addWidget(self.watch_again)
        whole = QVBoxLayout(self)
        whole.addLayout(form)
        whole.addLayout(pressed)
        whole.addWidget(self.progress)
        whole.addWidget(self.chart)
        whole.addWidget(self.status)
        whole.addWidget(self.picture)
        whole.addWidget(self.judge)
        whole.addWidget(self.verdict)
        whole.addStretch(1)

    def _ask_source(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "A recipe, or the annotations of an exported folder", "", "*.yaml *.yml *.json"
        )
        if path:
            self.source.setText(path)

    def _ask_out(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "A new folder for the run")
        if path:
            self.out.setText(path)

    def ask_for_run(self) -> None:
        """Let the user choose a run folder, and watch it."""
        folder = QFileDialog.getExistingDirectory(self, "The folder of a run")
        if folder:
            self.attach(Path(folder))

    # -- the run --------------------------------------------------------------------------------

    @messages.told
    def run(self) -> None:
        """Start the training."""
        if not self.source.text().strip() or not self.out.text().strip():
            raise UsageError(
                "Something is missing",
                remedy="Say what to learn from (a recipe or an exported folder) and name a new run folder",
            )
        out = Path(self.out.text().strip()).expanduser()
        recipe = recipe_for(Path(self.source.text().strip()).expanduser(), out)
        changed = [f"training.steps={self.steps.value()}"] if self.steps.value() else []
        resume = self.resume.isChecked()
        if resume and not changed and (out / "recipe.yaml").exists():
            recipe = out / "recipe.yaml"
        self._follow(jobs.start(recipe, out, changed, resume))

    @messages.told
    def attach(self, out: Path) -> None:
        """Watch a run that was started from napari earlier."""
        self.out.setText(str(out))
        self._follow(jobs.attach(out))

    def _follow(self, job: jobs.Job) -> None:
        settings.remember("last_run", str(job.out))
        self.watch = jobs.Watch(job)
        self._measured = None
        self.verdict.setText("")
        self._timer.start()
        self.look()

    def _come_back(self) -> None:
        """A run that was under way when napari was closed is watched again without a question."""
        last = settings.recall("last_run", "")
        if last and jobs.job_file(Path(last)).exists():
            self.attach(Path(last))

    def showEvent(self, event: Any) -> None:
        """The panel has come into sight: what Review exported last is what the user means."""
        self._suggest()
        super().showEvent(event)

    def _suggest(self) -> None:
        data = settings.recall("last_export", "")
        if data and Path(data).is_dir() and not self.source.text() and self.state == "none":
            self.source.setText(data)
            if not self.out.text():
                self.out.setText(str(free_run(Path(data))))

    def look(self) -> None:
        """Show where the run is."""
        if self.watch is None:
            return
        now = self.watch.look()
        self.progress.setRange(0, now.steps)
        self.progress.setValue(now.step)
        if self._measured is None:
            self._measured = rounds.is_measured(self.watch.job.out)
        measured = self._measured is not False
        self.chart.show_points(now.losses, now.precisions, now.steps, now.intervals, measured)
        step, path = now.sample or (0, None)
        self.picture.show_file(path, f"held-out images as the model of step {step} outlines them")
        self.status.setText(_words(now, self.watch.job))
        if now.state not in ("starting", "running"):
            self._timer.stop()
            self.progress.setRange(0, max(now.steps, 1))
            if now.state == "finished":
                self.progress.setValue(self.progress.maximum())
                self._remember_model(self.watch.job.out / "model")
                if not measured:
                    self.verdict.setText(rounds.NOT_MEASURED)
        self._show_buttons()

    @messages.told
    def _remember_model(self, folder: Path) -> None:
        if all(known.folder.resolve() != folder.resolve() for known in models.known_models()):
            models.add_model(folder)

    @property
    def state(self) -> str:
        """none, starting, running, finished, stopped or failed."""
        return self.watch.progress.state if self.watch is not None else "none"

    def cancel(self) -> None:
        """Ask the run to stop."""
        if self.watch is not None:
            jobs.stop(self.watch.job)
            self.status.setText("Stopping after the step under way; a checkpoint is written…")

    def _show_buttons(self) -> None:
        working = self.state in ("starting", "running")
        self.start.setEnabled(not working)
        self.stop.setEnabled(working)
        measured = self._measured is not False
        self.judge.setEnabled(self.state == "finished" and measured and self.worker is None)

    # -- the verdict ----------------------------------------------------------------------------

    @messages.told
    def ask_for_verdict(self) -> None:
        """Judge the finished run on its held-out images, beside the window."""
        from napari.qt.threading import create_worker

        if self.watch is None or self.worker is not None:
            return
        out = self.watch.job.out
        before = self.before.currentData()
        if before is not None and before.resolve() == (out / "model").resolve():
            before = None
        worker = create_worker(rounds.judge, out, before, _start_thread=False, _ignore_errors=True)
        worker.yielded.connect(
            lambda done: self.verdict.setText(f"Looking: {done[0]} of {done[1]}…")
        )
        worker.returned.connect(self._show_verdict)
        worker.errored.connect(self._failed)
        worker.finished.connect(self._judged)
        self.worker = worker
        self._show_buttons()
        worker.start()

    def _show_verdict(self, result: rounds.Round) -> None:
        self.verdict.setText(result.advice)
        if result.sample is None:
            return
        image, found = result.sample
        shift = (0.0, 0.0)
        self.viewer.add_image(image.plane(), name=f"held out: {image.name}", translate=shift)
        data, state, _ = labels_layer([found], f"new model: {image.name}", names=(image.name,))
        self.viewer.add_labels(data, **state)

    @messages.told
    def _show_sample(self) -> None:
        """The picture of the run as a layer, where it can be looked at closely."""
        from PIL import Image as Picture

        if self.picture.path is not None:
            pixels = np.asarray(Picture.open(self.picture.path).convert("RGB"))
            self.viewer.add_image(pixels, name=self.picture.words, rgb=True)

    def _failed(self, error: BaseException) -> None:
        self.verdict.setText(messages.explain(error))

    def _judged(self) -> None:
        self.worker = None
        self._show_buttons()

    def show_fault(self, text: str) -> None:
        """Keep what went wrong before the user's eyes."""
        self.status.setText(text)

    def closeEvent(self, event: Any) -> None:
        """Stop watching; the training goes on."""
        self._timer.stop()
        if self.worker is not None:
            self.worker.quit()
        super().closeEvent(event)


def free_run(data: Path) -> Path:
    """A name for a run that learns from ``data``, beside it, that none has yet."""
    numbers = itertools.count(1)
    paths = (data.parent / "runs" / f"{data.name}-{number}" for number in numbers)
    return next(path for path in paths if not path.exists())


def _with(field: QLineEdit, more: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.addWidget(field, 1)
    row.addWidget(more)
    return row


def _words(now: jobs.Progress, job: jobs.Job) -> str:
    said = messages.in_a_window(now.words, "Press Train again")
    left = f", {now.left} left" if now.left else ""
    return {
        "starting": "Starting: torch and the images are being loaded…",
        "running": f"{now.phase or 'training'}: step {now.step} of {now.steps}{left}. You may close napari.",
        "finished": f"Finished. The model is in {job.out / 'model'} and in the list of Layers > Segment.",
        "stopped": "Stopped, with a checkpoint. Tick “Go on with a run that was stopped” and press Train.",
        "failed": f"Training has failed:\n{said}\nAll that it printed is in {job.log}.",
    }[now.state]
