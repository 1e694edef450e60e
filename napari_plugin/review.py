"""Layers > Annotate > Review: one organoid after the other, with one key each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QFileDialog, QOpenGLWidget, QVBoxLayout, QWidget

from organoseg.core import DataError, OrganosegError, UsageError

from . import messages, settings
from .actions import ACTIONS, ALSO
from .cutting import split
from .desk import Desk, Item
from .review_layers import EDIT, OUTLINES, Canvas
from .review_panel import Panel
from .review_view import View

if TYPE_CHECKING:
    import napari

_CLOSED = (
    "New… begins a review: of the open image and its organoids, of a folder, an archive, or the results of "
    "`organoseg predict`. Open… goes on with one. Your images are never changed."
)
_DRAWING = (
    "Paint the organoid that was missed (keys: 2 paint, 1 erase, 4 fill). Then press {accept}."
)
_JUDGE = (
    "Is the yellow organoid, number {number}, outlined well?\n"
    "{accept} yes · {reject} no organoid at all · or mend it first: 2 paint, 1 erase, Space+drag moves."
)
_DONE = (
    "Nothing is waiting in this image. Draw what was missed ({draw}); when every organoid has its outline, "
    "press {complete} (image done)."
)


class ReviewWidget(QWidget):
    """The review of a folder, an archive or a finished run; every action is on disk when its key comes up."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        self.desk: Desk | None = None
        self.canvas = Canvas(napari_viewer, self._painted)
        self.view = View(self.canvas)
        self.worker: Any = None
        self._moved: Path | None = None
        slots: dict[str, Callable[[], None]] = {a.name: getattr(self, a.name) for a in ACTIONS}
        self.panel = Panel(slots, self)
        self.panel.open.clicked.connect(lambda *_: self.ask_for_project())
        self.panel.new.clicked.connect(lambda *_: self.ask_for_new())
        self.panel.find.clicked.connect(lambda *_: self.ask_for_images())
        self.panel.export.clicked.connect(lambda *_: self.ask_for_export())
        self.panel.picked.connect(self.go_to)
        self.panel.image_step.connect(self.open_image)
        self.panel.rebound.connect(self.bind_keys)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.addWidget(self.panel)
        self.bind_keys()
        self._say(_CLOSED)

    # -- opening --------------------------------------------------------------------------------

    def ask_for_project(self) -> None:
        """Let the user choose a review that was begun."""
        folder = QFileDialog.getExistingDirectory(self, "The folder of a review")
        if folder:
            self.open(Path(folder))

    @messages.told
    def open(self, folder: Path) -> None:
        """Open a review that was begun."""
        from .begin import open_desk

        desk = open_desk(folder)
        self._moved = folder
        self.panel.find.setVisible(False)
        try:
            self.use(desk)
        except DataError:
            self.panel.find.setVisible(True)  # the image is not where it was, or not what it was
            raise
        if desk.notice:
            messages.warn(desk.notice)

    def ask_for_images(self) -> None:
        """Let the user say where the images are now."""
        folder = QFileDialog.getExistingDirectory(self, "The folder that has the images now")
        if folder:
            self.find_images(Path(folder))

    @messages.told
    def find_images(self, folder: Path) -> None:
        """Look for the images of the review that could not be opened, and open it."""
        from organoseg.review import Project

        if self._moved is None:
            return
        missing = Project.open(self._moved).find_images(folder)
        self.open(self._moved)
        if missing:
            messages.warn(f"{len(missing)} images are still missing, {missing[0].name} for one.")

    @messages.told
    def ask_for_new(self) -> None:
        """Ask what is to be reviewed, and begin."""
        from .new_review import NewReview

        question = NewReview(self.viewer, self)
        if question.exec():
            self.begin(question.work())

    def begin(self, work: Callable[[], Any]) -> None:
        """Make a review beside the window (many images take a while), then open it."""
        from napari.qt.threading import create_worker

        self._say("The images are being read…")
        worker = create_worker(work, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(self._begun)
        worker.errored.connect(self._not_begun)
        self.worker = worker
        worker.start()

    def _begun(self, begun: Any) -> None:
        self.worker = None
        if begun.left_out:
            shown = "; ".join(f"{name}: {why}" for name, why in begun.left_out[:3])
            messages.warn(f"{len(begun.left_out)} files are left out: {shown}")
        self.open(begun.project.folder)

    def _not_begun(self, error: BaseException) -> None:
        self.worker = None
        self._say(messages.explain(error))
        messages.fault(error)

    def use(self, desk: Desk) -> None:
        """Show this review; where its first image cannot be read it is closed again, and the error passes on."""
        self.use_nothing()
        self.desk = desk
        try:
            self.refresh()
        except OrganosegError:
            self.use_nothing()
            raise
        self.canvas.hide_others()
        self._focus()

    def use_nothing(self) -> None:
        """Let go of the review; everything is on disk already."""
        if self.desk is not None:
            self.desk.close()
        self.desk = None
        self.view.reset()

    def _focus(self) -> None:
        """Keys go to the picture, not to the button that was pressed last."""
        main = self.window()
        canvas = main.findChildren(QOpenGLWidget) if main is not None else []
        if canvas:
            canvas[0].setFocus()

    def _ready(self) -> Desk:
        if self.desk is None:
            raise UsageError("No review is open", remedy="Press “Open…” in the Review panel")
        return self.desk

    def _chosen(self) -> tuple[Desk, int]:
        desk = self._ready()
        number = self.canvas.number if self.canvas.number is not None else desk.current()
        if number is None:
            raise UsageError("No organoid is under review", remedy="Press N, or click one with J")
        return desk, number

    # -- actions: one method a key (actions.ACTIONS) ---------------------------------------------

    @messages.told
    def accept(self) -> None:
        """Right as drawn."""
        self._then(self._ready().accept)

    @messages.told
    def reject(self) -> None:
        """No organoid."""
        self._then(self._ready().reject)

    @messages.told
    def next(self) -> None:
        """The next one of the queue."""
        self._then(self._ready().next)

    @messages.told
    def previous(self) -> None:
        """The one before."""
        self._then(self._ready().previous)

    @messages.told
    def draw(self) -> None:
        """An empty layer to paint a missed organoid in; it is kept with its first stroke."""
        desk = self._ready()
        if desk.read_only:
            raise UsageError(desk.read_only)
        self.view.draw(desk)
        self.canvas.layer(EDIT).mode = "paint"
        self._say(_DRAWING)

    @messages.told
    def split(self) -> None:
        """Two or more of one."""
        desk, number = self._chosen()
        pieces = split(self.view.items[number].mask, self.view.before)
        self._then(lambda: desk.split(number, pieces))

    @messages.told
    def merge(self) -> None:
        """One of two: this one and the one under the pointer."""
        desk, number = self._chosen()
        other = self.view.under_pointer(but=number)
        if other is None:
            raise UsageError(
                "There is no other organoid under the mouse pointer",
                remedy="Point at the organoid that belongs to the yellow one, then press the key",
            )
        self._then(lambda: desk.merge(number, other))
        self._say(f"Number {other} is part of number {number} now.", more=True)

    @messages.told
    def delete(self) -> None:
        """Take it away."""
        desk, number = self._chosen()
        self._then(lambda: desk.delete(number))

    @messages.told
    def next_class(self) -> None:
        """The class after its own."""
        desk, number = self._chosen()
        kinds = sorted(desk.classes())
        if len(kinds) < 2:
            raise UsageError("There is only one class here", remedy="Classes come from the model")
        after = kinds[(kinds.index(self.view.items[number].kind) + 1) % len(kinds)]
        self._then(lambda: desk.set_class(number, after))

    @messages.told
    def undo(self) -> None:
        """Take back the last action, also from before napari was closed."""
        words: list[str | None] = []
        self._then(lambda: words.append(self._ready().undo()), force=True)
        self._say(
            f"Taken back: {words[0]}." if words[0] else "There is nothing to take back.", True
        )

    @messages.told
    def redo(self) -> None:
        """Do again what was taken back."""
        words: list[str | None] = []
        self._then(lambda: words.append(self._ready().redo()), force=True)
        self._say(f"Done again: {words[0]}." if words[0] else "There is nothing to do again.", True)

    @messages.told
    def jump(self) -> None:
        """The one under the pointer."""
        number = self.view.under_pointer()
        if number is not None:
            self.go_to(number)

    @messages.told
    def go_to(self, number: int) -> None:
        """Review this one."""
        self._then(lambda: self._ready().jump(number))

    @messages.told
    def show_outlines(self) -> None:
        """Show or hide the other organoids."""
        layer = self.canvas.layer(OUTLINES)
        if layer is not None:
            layer.visible = not layer.visible

    @messages.told
    def complete(self) -> None:
        """All of the image's organoids are outlined."""
        self._then(self._ready().complete)

    @messages.told
    def open_image(self, step: int) -> None:
        """An image before or after this one."""
        self._then(lambda: self._ready().open_image(step))

    def _then(self, change: Callable[[], Any], force: bool = False) -> None:
        change()
        self.refresh(force)

    def _painted(self) -> None:
        """After each stroke: what is painted goes to disk."""
        desk = self.desk
        mask = self.canvas.drawn()
        if desk is None:
            return
        if mask is None:
            self._say(
                "Nothing is left of it. Press {delete} to delete it, or {undo} to take it back."
            )
            return
        try:
            if self.canvas.number is None:
                self.canvas.number = desk.draw(mask)
            else:
                desk.replace(self.canvas.number, mask)
        except OrganosegError as error:
            self.refresh(force=True)  # what cannot be kept must not look as if it were
            messages.fault(error)
            return
        self.view.painted(desk, self.canvas.number)
        self._tell(desk)

    # -- showing --------------------------------------------------------------------------------

    def refresh(self, force: bool = False) -> None:
        """Show the review as it is now."""
        desk = self._ready()
        item = self.view.refresh(desk, force)
        self._tell(desk)
        self._hint(item)

    def _tell(self, desk: Desk) -> None:
        self.panel.tell(desk.place(), self.view.items, desk.current(), desk.classes())

    def _hint(self, item: Item | None) -> None:
        desk = self._ready()
        if item is not None:
            self._say(_JUDGE.replace("{number}", str(item.number)))
        elif desk.place().complete:
            self._say("This image is done. N goes on to the next one that is waiting.")
        else:
            self._say(_DONE)

    def _say(self, text: str, more: bool = False) -> None:
        for name, key in settings.keys().items():
            text = text.replace("{" + name + "}", key)
        self.panel.hint.setText(f"{text}\n{self.panel.hint.text()}" if more else text)

    # -- keys, export, end ------------------------------------------------------------------------

    def bind_keys(self) -> None:
        """Take the keys from the settings."""
        chosen = {key: getattr(self, name) for name, key in settings.keys().items()}
        also = {key: getattr(self, name) for key, name in ALSO.items()}
        self.canvas.bind({**chosen, **also})
        self.panel.show_keys(settings.keys())

    def keyPressEvent(self, event: Any) -> None:
        """The same keys while the panel has the keyboard."""
        pressed = QKeySequence(event.key()).toString()
        for name, key in settings.keys().items():
            if key.upper() == pressed.upper() and not event.modifiers():
                getattr(self, name)()
                return
        super().keyPressEvent(event)

    def ask_for_export(self) -> None:
        """Let the user choose the data set that the corrections go to."""
        folder = QFileDialog.getExistingDirectory(self, "The data set that the corrections go to")
        if folder:
            self.export(Path(folder))

    @messages.told
    def export(self, folder: Path) -> None:
        """Add what was reviewed to a data set."""
        self._say(
            f"{self._ready().export(folder)}\nNext: Layers > Annotate > Train a model, with this folder."
        )

    def show_fault(self, text: str) -> None:
        """Keep what went wrong before the user's eyes."""
        self._say(text)

    def closeEvent(self, event: Any) -> None:
        """Let go of the review; everything is on disk already."""
        self.use_nothing()
        super().closeEvent(event)
