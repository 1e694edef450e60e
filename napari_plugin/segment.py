"""Layers > Segment: the organoids of the open image, stack or time-lapse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from organoseg.core import UsageError

from . import messages, models
from .conversion import labels_layer, pixel_size, planes
from .segment_work import Loaded, Order, Outcome, segment
from .widgets import LayerChoice, ModelChoice, button, note

if TYPE_CHECKING:
    import napari

_NO_IMAGE = "1. Open an image: drag a file into the window, or File > Open Sample > organoseg."
_NO_MODEL = (
    "2. Add a model: the folder “model” of a training run. Have none yet? Label a few images in "
    "Layers > Annotate > Review organoids, then Layers > Annotate > Train a model."
)
_READY = "Press Segment. Afterwards: Layers > Annotate > Review organoids."
_NEXT = "Next: Layers > Annotate > Review organoids, New…; or File > Save Selected Layers."


class SegmentWidget(QWidget):
    """Choose an image and a model, press Segment, watch, stop."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        self.worker: Any = None
        self._loaded = Loaded()
        self.image = LayerChoice(napari_viewer, "image")
        self.model = ModelChoice()
        self.add = button("Add model…", self.ask_for_model, "The folder “model” of a training run.")
        self.threshold = QDoubleSpinBox()
        self.threshold.setRange(0.0, 0.99)
        self.threshold.setSingleStep(0.05)
        self.threshold.setSpecialValueText("as the model says")
        self.threshold.setToolTip("Organoids with a lower score are left out.")
        self.thorough = QCheckBox("Look four times (better, about seven times slower)")
        self.start = button("Segment", self.run, "Find and outline every organoid.")
        self.stop = button("Stop", self.cancel, "Stops after the image that is under way.")
        self.stop.setEnabled(False)
        self.progress = QProgressBar()
        self.progress.setVisible(False)
        self.status = note()
        self._arrange()
        self.image.currentIndexChanged.connect(lambda *_: self.show_state())
        self.model.currentIndexChanged.connect(lambda *_: self.show_state())
        self.show_state()

    def _arrange(self) -> None:
        chosen = QHBoxLayout()
        chosen.addWidget(self.model, 1)
        chosen.addWidget(self.add)
        form = QFormLayout()
        form.addRow("Image", self.image)
        form.addRow("Model", chosen)
        form.addRow("Lowest score", self.threshold)
        form.addRow("", self.thorough)
        pressed = QHBoxLayout()
        pressed.addWidget(self.start, 1)
        pressed.addWidget(self.stop)
        whole = QVBoxLayout(self)
        whole.addLayout(form)
        whole.addLayout(pressed)
        whole.addWidget(self.progress)
        whole.addWidget(self.status)
        whole.addStretch(1)

    # -- models ---------------------------------------------------------------------------------

    def ask_for_model(self) -> None:
        """Let the user choose a model folder."""
        folder = QFileDialog.getExistingDirectory(self, "The folder “model” of a training run")
        if folder:
            self.add_model(Path(folder))

    @messages.told
    def add_model(self, folder: Path) -> None:
        """Add a model to the list and choose it."""
        nested = folder / "model"
        inside = (nested / models.DESCRIPTION).is_file() and not (
            folder / models.DESCRIPTION
        ).is_file()
        folder = nested if inside else folder
        models.add_model(folder)
        self.model.fill(folder)

    # -- work -----------------------------------------------------------------------------------

    def show_state(self) -> None:
        """Say what is missing, or what to press."""
        working = self.worker is not None
        ready = self.image.layer() is not None and self.model.currentData() is not None
        self.start.setEnabled(ready and not working)
        self.stop.setEnabled(working)
        if not working:
            missing = [_NO_IMAGE] if self.image.layer() is None else []
            missing += [_NO_MODEL] if self.model.currentData() is None else []
            self.status.setText("\n".join(missing) or _READY)

    def order(self) -> Order:
        """What the fields say; UsageError when an image or model is missing."""
        layer, folder = self.image.layer(), self.model.currentData()
        if layer is None or folder is None:
            raise UsageError("There is nothing to segment", remedy=f"{_NO_IMAGE} {_NO_MODEL}")
        return Order(
            planes=planes(layer.data, layer.name, layer.rgb, layer.multiscale),
            name=layer.name,
            model=folder,
            pixel_size=pixel_size(layer.scale, layer.units),
            threshold=self.threshold.value() or None,
            thorough=self.thorough.isChecked(),
        )

    @messages.told
    def run(self) -> None:
        """Segment in a thread of its own; the window stays free."""
        from napari.qt.threading import create_worker

        if self.worker is not None:
            return
        order, layer = self.order(), self.image.layer()
        self.progress.setRange(0, 0)
        self.progress.setVisible(True)
        self.status.setText("Loading the model…")
        worker = create_worker(
            segment,
            order,
            self._loaded,
            _start_thread=False,
            _progress={"total": len(order.planes) + 1, "desc": f"organoseg: {order.name}"},
        )
        worker.yielded.connect(lambda done: self._done(done, len(order.planes)))
        worker.returned.connect(lambda outcome: self._show(layer, outcome))
        worker.aborted.connect(lambda: self._finish("Stopped. Nothing was changed."))
        worker.finished.connect(self._over)
        self.worker = worker
        self.show_state()
        worker.start()

    def cancel(self) -> None:
        """Ask the work to stop; it does so after the image under way."""
        if self.worker is not None:
            self.status.setText("Stopping after the image that is under way…")
            self.worker.quit()

    def _done(self, done: int, total: int) -> None:
        self.progress.setRange(0, total if total > 1 else 0)
        self.progress.setValue(done)
        if done < total:
            self.status.setText(f"Segmenting image {done + 1} of {total}…")

    def _show(self, layer: Any, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._finish(messages.explain(outcome.error))
            return
        count = sum(len(part) for part in outcome.found)
        # napari has no scale for the colour axis of a photograph.
        places = layer.ndim
        data, state, _ = labels_layer(
            outcome.found,
            f"{layer.name} organoids",
            tuple(layer.data[0].shape if layer.multiscale else layer.data.shape)[: places - 2],
            scale=tuple(layer.scale),
            translate=tuple(layer.translate),
            units=layer.units,
        )
        self.viewer.add_labels(data, **state)
        self.image.choose(layer)
        words = "1 organoid" if count == 1 else f"{count} organoids"
        covered = sum(int((part.overlap_fraction() > 0).sum()) for part in outcome.found)
        text = f"Found {words}."
        if covered:
            text += f" {covered} lie over or under another; their whole masks are kept and saved."
        if not count:
            text += " Is this the kind of image that the model learnt from? Try a lower score."
        self._finish("\n".join([text, *outcome.remarks, _NEXT]))

    def _finish(self, text: str) -> None:
        self.worker = None
        self.progress.setVisible(False)
        self.show_state()
        self.status.setText(text)

    def _over(self) -> None:
        if self.worker is not None:
            self._finish("Stopped.")

    def show_fault(self, text: str) -> None:
        """Keep what went wrong before the user's eyes."""
        self.status.setText(text)

    def closeEvent(self, event: Any) -> None:
        """Stop the work and stop listening to the viewer."""
        self.cancel()
        self.image.forget()
        super().closeEvent(event)
