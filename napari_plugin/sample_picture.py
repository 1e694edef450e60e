"""What a model in training finds at the moment, as a picture that the run has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QRect, Qt, Signal
from qtpy.QtGui import QPainter, QPixmap
from qtpy.QtWidgets import QWidget

_WORDS = 20  # px for the line above


class SamplePicture(QWidget):
    """One picture as wide as the panel, with a line of words above; not there while there is none.

    ``clicked``: somebody wants to see it large.
    """

    clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.path: Path | None = None
        self.words = ""
        self._pixels = QPixmap()
        self.setToolTip("Click to see it large.")
        self.setVisible(False)

    def show_file(self, path: Path | None, words: str) -> None:
        """Show another picture; nothing where there is none, or it cannot be read."""
        self.words = words
        if path != self.path:
            self.path = path
            self._pixels = QPixmap() if path is None else QPixmap(str(path))
            self._fit()
        self.setVisible(not self._pixels.isNull())
        self.update()

    def _fit(self) -> None:
        """As high as the picture is at this width."""
        wide = max(self._pixels.width(), 1)
        self.setFixedHeight(_WORDS + self.width() * self._pixels.height() // wide)

    def resizeEvent(self, event: Any) -> None:
        """The panel has another width."""
        super().resizeEvent(event)
        self._fit()

    def mousePressEvent(self, event: Any) -> None:
        """Say that it was clicked."""
        self.clicked.emit()

    def paintEvent(self, event: Any) -> None:
        """Draw."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawText(QRect(0, 0, self.width(), 18), Qt.AlignmentFlag.AlignLeft, self.words)
        room = self.rect().adjusted(0, _WORDS, 0, 0)
        size = self._pixels.size().scaled(room.size(), Qt.AspectRatioMode.KeepAspectRatio)
        painter.drawPixmap(QRect(room.topLeft(), size), self._pixels)
        painter.end()
