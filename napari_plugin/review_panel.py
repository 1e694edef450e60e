"""The panel of the review: where one is, what to press next, a button for each key, and the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QKeySequenceEdit,
    QLabel,
    QTableView,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from . import settings
from .actions import ACTIONS, TAKEN, Action
from .contours import CODES, COLOURS
from .desk import Item, Place
from .widgets import Bar, button, note

_COLUMNS = ("no.", "state", "score", "why now")
_WHY = _COLUMNS.index("why now")
_GROUPS = ("judge", "change", "look", "image")


class QueueModel(QAbstractTableModel):
    """The organoids of the open image as rows."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Item] = []

    def fill(self, items: list[Item]) -> None:
        """Show these."""
        if [i.number for i in items] == [i.number for i in self.items]:
            self.items = items
            if not items:
                return
            corners = self.index(0, 0), self.index(len(items) - 1, len(_COLUMNS) - 1)
            self.dataChanged.emit(*corners)
            return
        self.beginResetModel()
        self.items = items
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Organoids."""
        return len(self.items)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Number, state, score, reason."""
        return len(_COLUMNS)

    def headerData(self, section: int, side: Any, role: int = 0) -> Any:
        """Names of the columns."""
        across = side == Qt.Orientation.Horizontal
        return _COLUMNS[section] if across and role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """A cell."""
        item = self.items[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            words = (str(item.number), item.state, f"{item.score:.2f}", item.why)
            return words[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole and index.column() == _WHY:
            return item.why
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == 1:
            return QColor(COLOURS[CODES.get(item.state, 1)])
        return None


class Panel(QWidget):
    """``picked``: an organoid was clicked in the queue; ``image_step``: to another image; ``rebound``: new keys."""

    picked = Signal(int)
    image_step = Signal(int)
    rebound = Signal()

    def __init__(self, slots: Mapping[str, Callable[[], None]], parent: QWidget) -> None:
        super().__init__(parent)
        self.new = button(
            "New…", lambda: None, "Begin: the open image, a folder, an archive, results"
        )
        self.open = button("Open…", lambda: None, "Go on with a review")
        self.export = button(
            "Use for training…", lambda: None, "Adds what you reviewed to a data set"
        )
        self.find = button("Find images that were moved…", lambda: None, "By their pixels")
        self.find.setVisible(False)
        self.where = note()
        self.progress = Bar()
        self.hint = note()
        self._faulty: bool | None = None
        self.mark_fault(False)
        self.buttons = {a.name: button(a.title, slots[a.name], a.tip) for a in ACTIONS}
        self.back = button("◀ image", lambda: self.image_step.emit(-1), "The image before")
        self.forth = button("image ▶", lambda: self.image_step.emit(1), "The image after")
        self.queue = QueueModel()
        self.table = QTableView()
        self.table.setModel(self.queue)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # or its search would swallow the keys
        self.table.verticalHeader().setVisible(False)
        # Widths and heights that are not asked of each row: with 2,000 rows that would take a second.
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        for column, width in enumerate((44, 76, 50)):
            self.table.setColumnWidth(column, width)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.clicked.connect(lambda i: self.picked.emit(self.queue.items[i.row()].number))
        self.keys: dict[str, QKeySequenceEdit] = {}
        self._arrange()

    def _arrange(self) -> None:
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        top = QHBoxLayout()
        for part in (self.new, self.open, self.back, self.forth):
            top.addWidget(part)
        whole.addLayout(top)
        whole.addWidget(self.find)
        whole.addWidget(self.where)
        whole.addWidget(self.progress)
        whole.addWidget(self.hint)
        for group in _GROUPS:
            row = QGridLayout()
            for index, action in enumerate(a for a in ACTIONS if a.group == group):
                row.addWidget(self.buttons[action.name], index // 4, index % 4)
            whole.addLayout(row)
        whole.addWidget(self.export)
        whole.addWidget(self.table, 1)
        whole.addWidget(self._key_table())

    def mark_fault(self, wrong: bool) -> None:
        """Frame what is said so that it is seen where something went wrong."""
        if wrong == self._faulty:
            return  # a style that is set anew lays out the whole panel
        self._faulty = wrong
        border = "2px solid #e69f00" if wrong else "1px solid palette(mid)"
        self.hint.setStyleSheet(f"font-size: 11pt; padding: 6px; border: {border};")

    def _key_table(self) -> QWidget:
        """All keys, each of which can be changed."""
        inside = QWidget()
        grid = QGridLayout(inside)
        for row, action in enumerate(ACTIONS):
            field = QKeySequenceEdit()
            field.editingFinished.connect(lambda a=action, f=field: self._rebind(a, f))
            grid.addWidget(QLabel(action.title), row, 0)
            grid.addWidget(field, row, 1)
            grid.addWidget(note(action.tip), row, 2)
            self.keys[action.name] = field
        grid.setColumnStretch(2, 1)
        self.key_note = note("Click a key and press another. Ctrl+Z and Ctrl+Shift+Z work, too.")
        grid.addWidget(self.key_note, len(ACTIONS), 0, 1, 3)
        folded = QCollapsible("Keys")
        folded.addWidget(inside)
        folded.collapse(animate=False)
        return folded

    def _rebind(self, action: Action, field: QKeySequenceEdit) -> None:
        key = (
            field.keySequence().toString().replace("Ctrl+", "Control-").replace("Shift+", "Shift-")
        )
        others = {k for name, k in settings.keys().items() if name != action.name}
        if not key or key in others or key in TAKEN or "," in key:
            taken = f"{key} is used already, by another action or by napari." if key else "No key."
            self.key_note.setText(f"{taken} {action.title} keeps its key.")
        else:
            settings.set_key(action.name, key)
            self.key_note.setText(f"{action.title} is {key} now.")
        self.rebound.emit()

    def show_keys(self, keys: Mapping[str, str]) -> None:
        """Write the keys on the buttons and into the table."""
        for action in ACTIONS:
            key = keys[action.name]
            self.buttons[action.name].setText(f"{action.title}  [{key}]")
            self.buttons[action.name].setToolTip(f"{action.tip}\nKey: {key}")
            self.keys[action.name].setKeySequence(key.replace("-", "+").replace("Control", "Ctrl"))

    def tell(
        self,
        place: Place,
        items: Mapping[int, Item],
        current: int | None,
        classes: Mapping[int, str],
    ) -> None:
        """Say where the review is."""
        kind = items[current].kind if current is not None and current in items else None
        named = f", class {classes.get(kind, kind)}" if len(classes) > 1 and kind else ""
        done = " · done" if place.complete else ""
        self.where.setText(
            f"Image {place.image} of {place.images}: {place.name}{done}\n"
            f"{place.organoids} organoids here, {place.waiting} waiting in all{named}"
        )
        judged = f"{place.judged} of {place.organoids} judged"
        each = f", {place.seconds_each:.0f} s each" if (place.seconds_each or 0) >= 1 else ""
        self.progress.tell(place.judged, place.organoids, judged + each)
        rows = list(items.values())
        self.queue.fill(rows)
        self.table.setColumnHidden(_WHY, not any(item.why for item in rows))
        for row, item in enumerate(rows):
            if item.number == current:
                self.table.selectRow(row)
                break
        else:
            self.table.clearSelection()
