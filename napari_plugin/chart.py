"""A line chart of a run: loss and AP over steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

Points = Sequence[tuple[int, float]]
Intervals = Sequence[tuple[int, float, float]]
_TIP = (
    "Loss: how far the model is from the outlines it learns from; it should fall.\n"
    "AP: how well it outlines the held-out images, 0 to 1; it should rise. "
    "The upright lines are its 95 % interval."
)
LOSS, PRECISION = "#e69f00", "#56b4e9"  # told apart by colour-blind people too


class Chart(QWidget):
    """Loss (left scale, from 0 to its largest) and AP (right scale, 0 to 1) with its 95 % interval."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumHeight(130)
        self.setToolTip(_TIP)
        self.losses: Points = ()
        self.precisions: Points = ()
        self.intervals: Intervals = ()
        self.held_out = True
        self.steps = 0

    def show_points(
        self,
        losses: Points,
        precisions: Points,
        steps: int,
        intervals: Intervals = (),
        held_out: bool = True,
    ) -> None:
        """Draw these; ``steps`` is where the run ends; ``held_out``: whether there are images to measure AP on."""
        self.losses, self.precisions, self.steps = list(losses), list(precisions), steps
        self.intervals, self.held_out = list(intervals), held_out
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
        for step, low, high in self.intervals:
            spread = [(step, low), (step, high)]
            self._line(painter, area, spread, last, 1.0, PRECISION)
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
        painter.drawText(above, align.AlignRight, self.figure())
        edge = self.width() - 30
        painter.drawText(QRectF(edge, area.top(), 30, 16), align.AlignLeft, "1")
        painter.drawText(QRectF(edge, area.bottom() - 14, 30, 16), align.AlignLeft, "0")

    def figure(self) -> str:
        """The latest AP in words."""
        if not self.held_out:
            return "no held-out images, so no AP"
        if not self.precisions:
            return "AP, not yet measured"
        step, ap = self.precisions[-1]
        between = next((f" ({a:.2f} to {b:.2f})" for s, a, b in self.intervals if s == step), "")
        return f"AP, now {ap:.3f}{between}"

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
