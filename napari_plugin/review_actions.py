"""What each key of the review does: one method an action of `actions.ACTIONS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from organoseg.core import UsageError

from . import messages
from .cutting import split
from .desk import Desk
from .review_layers import OUTLINES, Canvas
from .review_view import View

_DRAWING = (
    "Paint the organoid that was missed (keys: 2 paint, 1 erase, 4 fill). Then press {accept}."
)


class Screen(Protocol):
    """The widget that shows the review, as the actions see it. desk: None while no review is open."""

    desk: Desk | None
    canvas: Canvas
    view: View

    def refresh(self, force: bool = False) -> None: ...
    def say(self, text: str, more: bool = False) -> None: ...
    def show_fault(self, text: str) -> None: ...


class ReviewActions:
    """The actions on what a screen shows; what cannot be done is said there."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show_fault(self, text: str) -> None:
        """Keep what went wrong before the user's eyes (see `messages.told`)."""
        self._screen.show_fault(text)

    def ready(self) -> Desk:
        """The open review; UsageError where there is none."""
        desk = self._screen.desk
        if desk is None:
            raise UsageError("No review is open", remedy="Press “Open…” in the Review panel")
        return desk

    def _chosen(self) -> tuple[Desk, int]:
        """The review, and the organoid that the user sees under review."""
        desk = self.ready()
        if self._screen.canvas.number is not None:
            return desk, self._screen.canvas.number
        if desk.current() is None:
            raise UsageError(
                "No organoid is under review", remedy="Press N, or point at one and press J"
            )
        # An empty drawing is on the screen: what was under review before must not be judged unseen.
        self._screen.refresh(force=True)
        raise UsageError(
            "Nothing was drawn", remedy="The organoid from before is under review again"
        )

    # -- actions: one method a key (actions.ACTIONS) ---------------------------------------------

    @messages.told
    def accept(self) -> None:
        """Right as drawn."""
        desk, _ = self._chosen()
        self._then(desk.accept)

    @messages.told
    def reject(self) -> None:
        """No organoid."""
        desk, _ = self._chosen()
        self._then(desk.reject)

    @messages.told
    def next(self) -> None:
        """The next one of the queue."""
        self._then(self.ready().next)

    @messages.told
    def previous(self) -> None:
        """The one before."""
        self._then(self.ready().previous)

    @messages.told
    def draw(self) -> None:
        """An empty layer to paint a missed organoid in; it is kept with its first stroke."""
        desk = self.ready()
        if desk.read_only:
            raise UsageError(desk.read_only)
        self._screen.view.draw(desk)
        self._screen.canvas.begin_drawing()
        self._screen.say(_DRAWING)

    @messages.told
    def split(self) -> None:
        """Two or more of one."""
        desk, number = self._chosen()
        pieces = split(self._screen.view.items[number].mask, self._screen.view.before)
        self._then(lambda: desk.split(number, pieces))

    @messages.told
    def merge(self) -> None:
        """One of two: this one and the one under the pointer."""
        desk, number = self._chosen()
        other = self._screen.view.under_pointer(but=number)
        if other is None:
            raise UsageError(
                "There is no other organoid under the mouse pointer",
                remedy="Point at the organoid that belongs to the yellow one, then press the key",
            )
        self._then(lambda: desk.merge(number, other))
        self._screen.say(f"Number {other} is part of number {number} now.", more=True)

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
        after = kinds[(kinds.index(self._screen.view.items[number].kind) + 1) % len(kinds)]
        self._then(lambda: desk.set_class(number, after))

    @messages.told
    def undo(self) -> None:
        """Take back the last action, also from before napari was closed."""
        words: list[str | None] = []
        self._then(lambda: words.append(self.ready().undo()), force=True)
        self._screen.say(
            f"Taken back: {words[0]}." if words[0] else "There is nothing to take back.", True
        )

    @messages.told
    def redo(self) -> None:
        """Do again what was taken back."""
        words: list[str | None] = []
        self._then(lambda: words.append(self.ready().redo()), force=True)
        self._screen.say(
            f"Done again: {words[0]}." if words[0] else "There is nothing to do again.", True
        )

    @messages.told
    def jump(self) -> None:
        """The one under the pointer."""
        number = self._screen.view.under_pointer()
        if number is not None:
            self.go_to(number)

    @messages.told
    def go_to(self, number: int) -> None:
        """Review this one."""
        self._then(lambda: self.ready().jump(number))

    @messages.told
    def show_outlines(self) -> None:
        """Show or hide the other organoids."""
        layer = self._screen.canvas.layer(OUTLINES)
        if layer is not None:
            layer.visible = not layer.visible

    @messages.told
    def complete(self) -> None:
        """All of the image's organoids are outlined; asked twice where some are not judged."""
        desk = self.ready()
        try:
            self._then(desk.complete)
        except UsageError as question:
            if desk.read_only:
                raise
            self._screen.say(messages.explain(question))

    @messages.told
    def open_image(self, step: int) -> None:
        """An image before or after this one."""
        self._then(lambda: self.ready().open_image(step))

    def _then(self, change: Callable[[], Any], force: bool = False) -> None:
        change()
        self._screen.refresh(force)
