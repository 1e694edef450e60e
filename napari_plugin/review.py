"""Layers > Annotate > Review: one organoid after the other, with one key each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QFileDialog, QOpenGLWidget, QSizePolicy, QVBoxLayout, QWidget

from organoseg.core import DataError, OrganosegError

from . import messages, settings
from .actions import ACTIONS, ALSO
from .desk import Desk, Item, Place
from .folder_question import ask_for_folder
from .review_actions import ReviewActions
from .review_layers import Canvas
from .review_panel import Panel
from .review_view import View

if TYPE_CHECKING:
    import napari

_CLOSED = (
    "New… begins a review: of the open image and its organoids, of a folder, an archive, or the results of "
    "organoseg predict. Open… goes on with one. Your images are never changed."
)
_JUDGE = (
    "Is the yellow organoid, number {number}, outlined well?\n"
    "{accept} yes · {reject} no organoid at all · {delete} there twice · "
    "or mend it first (2 paint, 1 erase, hold Space to move), then {accept}."
)
_DONE = (
    "Nothing is waiting in this image. Draw what was missed ({draw}); when every organoid has its outline, "
    "press {complete} (image done)."
)
_AGAIN = ("1 was skipped: back to it.", "{count} were skipped: back to them.")
_LEFT = (
    "1 organoid of this image is still open: {previous} goes back to it, {complete} twice accepts it, "
    "{next} leaves it for later.",
    "{count} organoids of this image are still open: {previous} goes back, {complete} twice accepts them, "
    "{next} leaves them for later.",
)
_IMAGE_DONE = (
    "This image is done. {next} goes on to the next one that is waiting; {complete} opens it again."
)
_LAST_DONE = "This image is done, the last of the queue. {count} before it {are} not: “◀ image” goes back to them."
_ALL_DONE = (
    "Every image is done. Press “Use for training…”, then Layers > Annotate > Train a model.\n"
    "To change something here, press {complete} again."
)


class ReviewWidget(QWidget):
    """The review of a folder, an archive or a finished run; every action is on disk when its key comes up."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        self.desk: Desk | None = None
        self.canvas = Canvas(napari_viewer, self._painted)
        self.view = View(self.canvas)
        #: What each key does: `do.accept()` is the key A.
        self.do = ReviewActions(self)
        self.worker: Any = None
        self._moved: Path | None = None
        slots: dict[str, Callable[[], None]] = {a.name: getattr(self.do, a.name) for a in ACTIONS}
        self.panel = Panel(slots, self)
        self.panel.open.clicked.connect(lambda *_: self.ask_for_project())
        self.panel.new.clicked.connect(lambda *_: self.ask_for_new())
        self.panel.find.clicked.connect(lambda *_: self.ask_for_images())
        self.panel.export.clicked.connect(lambda *_: self.ask_for_export())
        self.panel.picked.connect(self.do.go_to)
        self.panel.image_step.connect(self.do.open_image)
        self.panel.rebound.connect(self.bind_keys)
        # Or napari gives the room under the table to nobody.
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 4)
        whole.addWidget(self.panel)
        self.bind_keys()
        self.say(_CLOSED)

    # -- opening --------------------------------------------------------------------------------

    def ask_for_project(self) -> None:
        """Let the user choose a review that was begun."""
        folder = QFileDialog.getExistingDirectory(self, "The folder of a review")
        if folder:
            self.open(Path(folder))

    @messages.told
    def open(self, folder: Path) -> None:
        """Open a review that was begun."""
        from .begin import open_desk, review_folder

        folder = review_folder(folder)
        if folder == self._moved:
            self.use_nothing()  # or it would be open already, here
        desk = open_desk(folder)
        self._moved = folder
        self.panel.find.setVisible(False)
        try:
            self.use(desk)
        except DataError:
            self.panel.find.setVisible(True)  # the image is not where it was, or not what it was
            raise
        if desk.notice:
            self.say(desk.notice, more=True)

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
            many = "1 image is" if len(missing) == 1 else f"{len(missing)} images are"
            self.say(f"{many} still missing, {missing[0].name} for one.", more=True)

    @messages.told
    def ask_for_new(self) -> None:
        """Ask what is to be reviewed, and begin."""
        from .new_review import NewReview

        question = NewReview(self.viewer, self)
        if question.exec():
            self.begin(question.work())

    def begin(self, work: Callable[[], Any]) -> None:
        """Make a review beside the window (many images take a while), then open it."""
        self.say("The images are being read…")
        self._beside(work, self._begun)

    def _begun(self, begun: Any) -> None:
        self.open(begun.project.folder)
        if begun.left_out:
            shown = "; ".join(f"{name}: {why}" for name, why in begun.left_out[:3])
            many = "1 file is" if len(begun.left_out) == 1 else f"{len(begun.left_out)} files are"
            self.say(f"{many} left out: {shown}", more=True)

    def _beside(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do long work in a thread; the window stays free."""
        from napari.qt.threading import create_worker

        def over(result: Any) -> None:
            self.worker = None
            done(result)

        def failed(error: BaseException) -> None:
            self.worker = None
            self.show_fault(messages.explain(error))

        worker = create_worker(work, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(over)
        worker.errored.connect(failed)
        self.worker = worker
        worker.start()

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

    def _painted(self) -> None:
        """After each stroke: what is painted goes to disk."""
        desk = self.desk
        mask = self.canvas.drawn()
        if desk is None:
            return
        if mask is None:
            self.say(
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
            self.show_fault(messages.explain(error))
            return
        self.view.painted(desk, self.canvas.number)
        self._tell(desk)

    # -- showing --------------------------------------------------------------------------------

    def refresh(self, force: bool = False) -> None:
        """Show the review as it is now."""
        desk = self.do.ready()
        item = self.view.refresh(desk, force)
        self._tell(desk)
        self._hint(item)

    def _tell(self, desk: Desk) -> None:
        self.panel.tell(desk.place(), self.view.items, desk.current(), desk.classes())

    def _hint(self, item: Item | None) -> None:
        desk = self.do.ready()
        place = desk.place()
        left = place.organoids - place.judged
        if item is not None:
            self.say(_JUDGE.replace("{number}", str(item.number)))
            if place.again and item.state == "open":
                self.say(f"{_counted(_AGAIN, left)}\n{self.panel.hint.text()}")
        elif place.complete:
            self.say(_after_done(place))
        elif left:
            self.say(_counted(_LEFT, left))
        else:
            self.say(_DONE)

    def say(self, text: str, more: bool = False) -> None:
        for name, key in settings.keys().items():
            text = text.replace("{" + name + "}", key)
        self.panel.hint.setText(f"{text}\n{self.panel.hint.text()}" if more else text)
        self.panel.mark_fault(False)

    # -- keys, export, end ------------------------------------------------------------------------

    def bind_keys(self) -> None:
        """Take the keys from the settings."""
        chosen = {key: getattr(self.do, name) for name, key in settings.keys().items()}
        also = {key: getattr(self.do, name) for key, name in ALSO.items()}
        self.canvas.bind({**chosen, **also})
        self.panel.show_keys(settings.keys())

    def keyPressEvent(self, event: Any) -> None:
        """The same keys while the panel has the keyboard."""
        pressed = QKeySequence(event.key()).toString()
        for name, key in settings.keys().items():
            if key.upper() == pressed.upper() and not event.modifiers():
                getattr(self.do, name)()
                return
        super().keyPressEvent(event)

    @messages.told
    def ask_for_export(self) -> None:
        """Let the user choose the data set that the corrections go to."""
        self.do.ready()
        folder = ask_for_folder(
            "Use for training",
            "The data set that the corrections go to: a new folder, or one that has some already.",
            self._data_set(),
            self,
        )
        if folder is not None:
            self.export(folder)

    def _data_set(self) -> Path:
        """Where corrections went last, else a new name beside the review."""
        last = settings.recall("last_export", "")
        if last and Path(last).is_dir():
            return Path(last)
        return (self._moved.parent if self._moved is not None else Path.cwd()) / "dataset"

    @messages.told
    def export(self, folder: Path) -> None:
        """Add what was reviewed to a data set, beside the window."""
        desk = self.do.ready()
        self.say("The data set is being written…")
        self._beside(lambda: (desk.export(folder), folder), self._exported)

    def _exported(self, done: tuple[str, Path]) -> None:
        words, folder = done
        settings.remember("last_export", str(folder.resolve()))
        self.say(f"{words}\nNext: Layers > Annotate > Train a model, with this folder.")

    def show_fault(self, text: str) -> None:
        """Keep what went wrong before the user's eyes."""
        self.say(text)
        self.panel.mark_fault(True)

    def closeEvent(self, event: Any) -> None:
        """Let go of the review; everything is on disk already."""
        self.use_nothing()
        super().closeEvent(event)


def _after_done(place: Place) -> str:
    """What to do in an image that is done."""
    if place.not_done == 0:
        return _ALL_DONE
    if place.not_done is None or place.image < place.images:
        return _IMAGE_DONE
    are = "is" if place.not_done == 1 else "are"
    return _LAST_DONE.replace("{count}", str(place.not_done)).replace("{are}", are)


def _counted(words: tuple[str, str], count: int) -> str:
    """The words for one, or for so many."""
    return words[count > 1].replace("{count}", str(count))
