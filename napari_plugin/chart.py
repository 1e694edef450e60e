"""A line chart of a run: loss and AP over steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

Points = Sequence[tuple[int, float]]
LOSS, PRECISION = "#e69f00", "#56b4e9"  # told apart by colour-blind people too


class Chart(QWidget):
    """Loss (left scale, from 0 to its largest) and AP (right scale, 0 to 1)."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumHeight(130)
        self.losses: Points = ()
        self.precisions: Points = ()
        self.steps = 0

    def show_points(self, losses: Points, precisions: Points, steps: int) -> None:
        """Draw these; ``steps`` is where the run ends."""
        self.losses, self.precisions, self.steps = list(losses), list(precisions), steps
        self.update()

    def paintEvent(self, event: Any) -> None:
        """Draw."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRectF(self.rect()).adjusted(38, 20, -34, -20)
        ink = self.palette().text().color()
        painter.setPen(QPen(ink, 1))
        painter.drawRect(area)
        last = max(self.steps, *(step for step, _ in [*self.losses, *self.precisions]), 1)
        top = max((value for _, value in self.losses), default=1.0) or 1.0
        self._words(painter, area, top, last)
        self._line(painter, area, self.losses, last, top, LOSS)
        self._line(painter, area, self.precisions, last, 1.0, PRECISION, dots=True)
        painter.end()

    def _words(self, painter: QPainter, area: QRectF, top: float, last: int) -> None:
        align = Qt.AlignmentFlag
        above = QRectF(area.left(), 0, area.width(), 18)
        painter.drawText(QRectF(0, area.bottom(), self.width(), 18), align.AlignHCenter, "step")
        right = QRectF(area.left(), area.bottom(), area.width(), 18)
        painter.drawText(right, align.AlignRight, str(last))
        painter.setPen(QColor(LOSS))
        painter.drawText(above, align.AlignLeft, "loss")
        painter.drawText(QRectF(0, area.top(), 34, 16), align.AlignRight, f"{top:.3g}")
        painter.drawText(QRectF(0, area.bottom() - 14, 34, 16), align.AlignRight, "0")
        painter.setPen(QColor(PRECISION))
        best = (
            f"AP, now {self.precisions[-1][1]:.3f}" if self.precisions else "AP, not yet measured"
        )
        painter.drawText(above, align.AlignRight, best)
        edge = self.width() - 30
        painter.drawText(QRectF(edge, area.top(), 30, 16), align.AlignLeft, "1")
        painter.drawText(QRectF(edge, area.bottom() - 14, 30, 16), align.AlignLeft, "0")

    @staticmethod
    def _line(
        painter: QPainter,
        area: QRectF,
        points: Points,
        last: int,
        top: float,
        colour: str,
        dots: bool = False,
    ) -> None:
        places = [
            QPointF(
                area.left() + area.width() * step / last,
                area.bottom() - area.height() * min(max(value / top, 0.0), 1.0),
            )
            for step, value in points
        ]
        painter.setPen(QPen(QColor(colour), 2))
        painter.drawPolyline(QPolygonF(places))
        if dots or len(places) == 1:
            painter.setBrush(QColor(colour))
            for place in places:
                painter.drawEllipse(place, 3, 3)
