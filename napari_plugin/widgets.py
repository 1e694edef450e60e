"""Small parts that several widgets use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QPainter
from qtpy.QtWidgets import QComboBox, QLabel, QPushButton, QSizePolicy, QWidget

from . import models


class Bar(QWidget):
    """How much is done. Qt's own bar draws the whole window at each change; this one waits its turn."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.done, self.total, self.words = 0, 1, ""
        self.setMinimumHeight(18)

    def tell(self, done: int, total: int, words: str) -> None:
        """So many of so many."""
        self.done, self.total, self.words = done, max(total, 1), words
        self.update()

    def paintEvent(self, event: Any) -> None:
        """Draw."""
        painter = QPainter(self)
        colours, area = self.palette(), self.rect().adjusted(0, 0, -1, -1)
        filled = area.adjusted(0, 0, 0, 0)
        filled.setWidth(round(area.width() * self.done / self.total))
        painter.fillRect(filled, colours.highlight())
        painter.setPen(colours.text().color())
        painter.drawRect(area)
        painter.drawText(area, Qt.AlignmentFlag.AlignCenter, self.words)
        painter.end()


class LayerChoice(QComboBox):
    """The layers of one kind, the viewer's active one chosen where it fits."""

    def __init__(self, viewer: Any, kind: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._kind = viewer, kind
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        events = viewer.layers.events
        heard = [(e, self.refill) for e in (events.inserted, events.removed, events.reordered)]
        heard.append((viewer.layers.selection.events.active, self._follow))
        for event, callback in heard:
            event.connect(callback)
        # A viewer outlives the panels that are closed in it, and must not call those.
        self.destroyed.connect(partial(_forget, heard))
        self.refill()
        self._follow()

    def refill(self, event: Any = None) -> None:
        """Read the list of layers anew."""
        before = self.layer()
        known = [self.itemData(index) for index in range(self.count())]
        self.blockSignals(True)
        self.clear()
        for layer in self._viewer.layers:
            if layer._type_string == self._kind and "organoseg review" not in layer.metadata:
                self.addItem(layer.name, layer)
        self.choose(before)
        active = self._viewer.layers.selection.active
        if not any(_same(active, layer) for layer in known):
            self.choose(active)  # what was opened last is what the user means
        self.blockSignals(False)
        self.currentIndexChanged.emit(self.currentIndex())

    def _follow(self, event: Any = None) -> None:
        self.choose(self._viewer.layers.selection.active)

    def choose(self, layer: Any) -> None:
        """Take this layer, where it is in the list."""
        for index in range(self.count()):
            if layer is not None and _same(self.itemData(index), layer):
                self.setCurrentIndex(index)

    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self.currentData()

    def forget(self) -> None:
        """Stop listening to the viewer."""
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.disconnect(self.refill)
        self._viewer.layers.selection.events.active.disconnect(self._follow)


class ModelChoice(QComboBox):
    """The known models, read anew whenever the list is looked at: a training may have added one.

    none: what the first line says, which stands for no model; "" where a model has to be chosen.
    """

    def __init__(self, none: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._none = none
        self.setMinimumContentsLength(12)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.fill()

    def fill(self, chosen: Path | None = None) -> None:
        """Read the list; ``chosen`` is taken then, or what was chosen before."""
        wanted = chosen or self.currentData()
        self.blockSignals(True)
        self.clear()
        if self._none:
            self.addItem(self._none, None)
        for known in models.known_models():
            self.addItem(known.title, known.folder)
            self.setItemData(self.count() - 1, known.facts, Qt.ItemDataRole.ToolTipRole)
            if wanted is not None and known.folder.resolve() == wanted.resolve():
                self.setCurrentIndex(self.count() - 1)
        self.blockSignals(False)
        self.currentIndexChanged.emit(self.currentIndex())

    def showEvent(self, event: Any) -> None:
        """The panel has come into sight."""
        self.fill()
        super().showEvent(event)

    def showPopup(self) -> None:
        """The list is opened."""
        self.fill()
        super().showPopup()


def _same(a: Any, b: Any) -> bool:
    # napari gives a plugin a new wrapper around a layer at each access, so `is` is never true.
    return bool(a == b)


def button(text: str, slot: Callable[[], Any], tip: str = "") -> QPushButton:
    """A push button that takes no keyboard focus: keys stay with the image."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.clicked.connect(lambda *_: slot())
    return made


def note(text: str = "") -> QLabel:
    """A line of text that wraps and can be copied."""
    made = QLabel(text)
    made.setWordWrap(True)
    made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
    return made


def _forget(heard: Iterable[tuple[Any, Callable[..., None]]], *_: Any) -> None:
    for event, callback in heard:
        with suppress(ValueError, RuntimeError, TypeError):
            event.disconnect(callback)
