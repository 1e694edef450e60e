"""The question with which a review begins: of what, and where to keep it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from organoseg.core import UsageError

from . import begin
from .widgets import LayerChoice, button, note

Work = Callable[[], begin.Begun]


class NewReview(QDialog):
    """Two tabs: what is open in the viewer, or files. `work` makes the review that was described."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("New review")
        self.image = LayerChoice(viewer, "image")
        self.labels = LayerChoice(viewer, "labels")
        self.labels.insertItem(0, "none: outline everything by hand", None)
        self.images = _line("folder of images, or an archive (.zarr)")
        self.predictions = _line("results of organoseg predict (optional)")
        self.second = _line("results of another model (optional)")
        self.folder = _line("a new folder, for the review")
        self.tabs = QTabWidget()
        self.tabs.addTab(self._layers(), "The open image")
        self.tabs.addTab(self._files(), "Images on disk")
        self.tabs.setCurrentIndex(0 if self.image.layer() is not None else 1)
        form = QFormLayout()
        form.addRow("Keep it in", _browsed(self.folder, self._ask_new))
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        whole = QVBoxLayout(self)
        whole.addWidget(self.tabs)
        whole.addLayout(form)
        whole.addWidget(
            note("Your images are only read. Every decision is kept in the new folder.")
        )
        whole.addWidget(buttons)
        self.resize(560, 300)

    def _layers(self) -> QWidget:
        tab = QWidget()
        form = QFormLayout(tab)
        form.addRow("Image", self.image)
        form.addRow("Organoids", self.labels)
        return tab

    def _files(self) -> QWidget:
        tab = QWidget()
        form = QFormLayout(tab)
        form.addRow("Images", _browsed(self.images, self._ask(self.images)))
        form.addRow("Predictions", _browsed(self.predictions, self._ask(self.predictions)))
        form.addRow("Second opinion", _browsed(self.second, self._ask(self.second)))
        form.addRow(note("Where the two opinions differ is looked at sooner."))
        return tab

    def _ask(self, field: QLineEdit) -> Callable[[], None]:
        def ask() -> None:
            folder = QFileDialog.getExistingDirectory(self, field.placeholderText())
            if folder:
                field.setText(folder)

        return ask

    def _ask_new(self) -> None:
        folder, _ = QFileDialog.getSaveFileName(self, "A new folder for the review")
        if folder:
            self.folder.setText(folder)

    def work(self) -> Work:
        """What makes the review; it may take a while for many images.

        Raises UsageError where something is missing.
        """
        folder = _path(self.folder)
        if folder is None:
            raise UsageError("The review needs a folder", remedy="Name a new one")
        if self.tabs.currentIndex() == 0:
            image, labels = self.image.layer(), self.labels.layer()
            if image is None:
                raise UsageError("No image is open", remedy="Open one, or choose images on disk")
            return lambda: begin.begin_with_layers(folder, image, labels)
        images = _path(self.images)
        if images is None:
            raise UsageError("No images were named", remedy="Choose a folder or an archive")
        predictions, second = _path(self.predictions), _path(self.second)
        return lambda: begin.begin(folder, images, predictions, second)

    def done(self, result: int) -> None:
        """Stop listening to the viewer."""
        self.image.forget()
        self.labels.forget()
        super().done(result)


def _line(words: str) -> QLineEdit:
    field = QLineEdit()
    field.setPlaceholderText(words)
    return field


def _path(field: QLineEdit) -> Path | None:
    text = field.text().strip()
    return Path(text).expanduser() if text else None


def _browsed(field: QLineEdit, ask: Callable[[], None]) -> QHBoxLayout:
    row = QHBoxLayout()
    row.addWidget(field, 1)
    row.addWidget(button("…", ask))
    return row
