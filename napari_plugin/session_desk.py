"""A `ReviewSession` as the Review widget sees it. No Qt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from organoseg.core import Image, Mask, UsageError
from organoseg.review import Organoid, ReviewSession

from .desk import Item, Place

_STATES = {"unseen": "open", "accepted": "accepted", "rejected": "rejected"}
_WORDS = {"set_class": "the class", "draw": "a drawing", "replace": "a stroke"}
#: Why an organoid is looked at of which the queue says nothing: its image comes in turn, or was drawn.
_WHY = ("nothing odd: its image's turn", "image drawn at random")
_SURE = (
    "Press the key again to accept it as it is drawn, or judge it first",
    "Press the key again to accept them all as they are drawn, or judge them first",
)


class SessionDesk:
    """See `desk.Desk`."""

    def __init__(self, session: ReviewSession) -> None:
        self.session = session
        self.read_only = session.notice if session.read_only else ""
        self.notice = session.notice
        self._image: tuple[str, Image] | None = None
        self._known: dict[int, tuple[Organoid, Item]] = {}
        self._asked: tuple[str, int] | None = None

    # -- looking --------------------------------------------------------------------------------

    def image(self) -> Image:
        """The open image; the one after it is read meanwhile."""
        key = self.session.place.image
        if self._image is None or self._image[0] != key:
            self._image = key, self.session.load()
            self._known = {}
            self.session.load_ahead()
        return self._image[1]

    def organoids(self) -> dict[int, Item]:
        """In the order of the queue, drawn ones last."""
        place, state = self.session.place, self.session.state()
        turn = self.session.project.turn(place.image)
        first = [n for n in turn.organoids if n in state.organoids]
        rest = sorted(state.organoids.keys() - set(first))
        usual = _WHY[turn.random]
        queued = {n: self._item(state.organoids[n], turn.reasons.get(n, usual)) for n in first}
        return queued | {n: self._item(state.organoids[n], "") for n in rest}

    def _item(self, organoid: Organoid, why: str) -> Item:
        known = self._known.get(organoid.id)
        if known is None or known[0] is not organoid:
            item = Item(
                organoid.id,
                organoid.mask,
                _state(organoid),
                organoid.score,
                organoid.category,
                why,
            )
            known = self._known[organoid.id] = organoid, item
        return known[1]

    def current(self) -> int | None:
        """The organoid under review."""
        return self.session.place.organoid

    def place(self) -> Place:
        """Where the reviewer is."""
        session = self.session
        key, state, all_ = session.place.image, session.state(), session.progress()
        return Place(
            image=session.project.number(key) + 1,
            images=all_.images,
            name=session.project.picture(key).name,
            judged=len(state.organoids) - len(state.unseen),
            organoids=len(state.organoids),
            waiting=all_.organoids - all_.decided,
            complete=state.complete,
            seconds_each=all_.seconds_each,
            not_done=all_.images - all_.images_complete,
            again=session.again,
        )

    def classes(self) -> dict[int, str]:
        """Names by class."""
        return dict(self.session.project.classes)

    # -- moving ---------------------------------------------------------------------------------

    def next(self) -> None:
        """The next undecided one, in this image or a later one."""
        if self.session.next() is None:
            left = self.place().not_done
            words = f"; {left} {'image is' if left == 1 else 'images are'} not done" if left else ""
            raise UsageError(
                f"This is the end of the queue{words}",
                remedy="Go back with the button “◀ image”, or use the corrections for training",
            )

    def previous(self) -> None:
        """The one before."""
        self.session.previous()

    def jump(self, number: int) -> None:
        """This one."""
        self.session.go(self.session.place.image, number)

    def open_image(self, step: int) -> None:
        """The image so many places later or earlier in the queue, complete or not."""
        pictures = self.session.project.pictures
        at = self.session.project.number(self.session.place.image) + step
        if 0 <= at < len(pictures):
            self.session.go(pictures[at].key)

    # -- changing -------------------------------------------------------------------------------

    def _go_on(self) -> None:
        self.session.next()

    def accept(self) -> None:
        """Right as drawn."""
        self.session.accept()
        self._go_on()

    def reject(self) -> None:
        """No organoid."""
        self.session.reject()
        self._go_on()

    def draw(self, mask: Mask) -> int:
        """A new one."""
        selected = self.session.draw(mask).selected
        if selected is None:
            raise UsageError("Nothing was drawn")
        return selected

    def replace(self, number: int, mask: Mask) -> None:
        """Another mask."""
        self.session.replace(mask, number)

    def split(self, number: int, masks: list[Mask]) -> None:
        """Several of one."""
        self.session.split(masks, number)

    def merge(self, number: int, other: int) -> None:
        """One of two."""
        self.session.merge([number, other])

    def delete(self, number: int) -> None:
        """Away with it."""
        self.session.delete(number)
        self._go_on()

    def set_class(self, number: int, kind: int) -> None:
        """Another class."""
        self.session.set_class(kind, number)

    def complete(self) -> None:
        """The image is done; pressed on one that is done, it is opened again.

        UsageError while some are undecided; asked a second time, they are accepted.
        """
        state, key = self.session.state(), self.session.place.image
        if state.complete:
            self.session.reopen()
            return
        sure = self._asked == (key, state.version)
        if state.unseen and not sure:
            self._asked = key, state.version
            raise UsageError(_unjudged(len(state.unseen)), remedy=_SURE[len(state.unseen) > 1])
        self.session.complete(accept_rest=sure)
        self.session.next_image()

    def undo(self) -> str | None:
        """Take back; what was taken back, in a word."""
        return self._turned(self.session.history.to_undo(), self.session.undo)

    def redo(self) -> str | None:
        """Bring back; what, in a word."""
        return self._turned(self.session.history.to_redo(), self.session.redo)

    @staticmethod
    def _turned(entry: Any, turn: Any) -> str | None:
        if turn() is None:
            return None
        return _WORDS.get(entry.action, entry.action)

    def export(self, dataset: Path) -> str:
        """Add what was reviewed to a data set; what came of it, in words."""
        from organoseg.review import export_project

        report = export_project(self.session.project.folder, dataset)
        words = [
            f"{len(names)} {'image' if len(names) == 1 else 'images'} {word}"
            for names, word in (
                (report.added, "added"),
                (report.updated, "brought up to date"),
                (report.unchanged, "there already"),
                (report.refused, "refused"),
            )
            if names
        ]
        reasons = "".join(f"\n{name}: {why}" for name, why in report.refused[:5])
        return f"{', '.join(words) or 'Nothing was reviewed yet'}.{reasons}"

    def close(self) -> None:
        """Let go of the project."""
        self.session.close()


def _unjudged(count: int) -> str:
    many = "1 organoid" if count == 1 else f"{count} organoids"
    return f"{many} of this image {'is' if count == 1 else 'are'} not judged"


def _state(organoid: Organoid) -> str:
    if not (organoid.edited and organoid.kept):
        return _STATES[organoid.status]
    return "changed" if organoid.source.startswith("model") else "drawn"
