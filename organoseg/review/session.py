"""One person at work on a review project: where they are, what they do, and every action on disk before it shows.

No Qt: a viewer shows `ReviewSession.state`, calls the actions, and draws anew what their `Outcome` names.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from organoseg.core import Image, Mask, UsageError
from organoseg.core.closing import Closing
from organoseg.review import actions
from organoseg.review.actions import Changes
from organoseg.review.history import REDO, UNDO, Entry, History, inverse
from organoseg.review.ledger import Ledger, Progress
from organoseg.review.opening import take_up
from organoseg.review.project import Project
from organoseg.review.state import ImageState
from organoseg.review.stopwatch import Stopwatch, timestamp
from organoseg.review.walk import Place, Walk

__all__ = ["Listener", "Outcome", "Place", "Progress", "ReviewSession"]

Listener = Callable[["Outcome"], None]


@dataclass(frozen=True)
class Outcome:
    """What an action did.

    number: its line in the journal, 0 when there was nothing to do; changed: ids to draw anew or take away; selected:
    the organoid that is now under review; complete: the image's mark.
    """

    number: int
    action: str
    image: str
    changed: tuple[int, ...]
    selected: int | None
    complete: bool


class ReviewSession(Closing):
    """See the module. Made by `open`; use as a context manager or `close` it."""

    def __init__(self, ledger: Ledger, reviewer: str) -> None:
        self.project, self.reviewer = ledger.project, reviewer
        self._ledger, self._walk = ledger, Walk(ledger)
        self._listeners: list[Listener] = []
        self._watch = Stopwatch()
        self._watch.start()

    @classmethod
    def open(
        cls, project: Project | Path | str, reviewer: str | None = None, read_only: bool = False
    ) -> ReviewSession:
        """Open a project for review by ``reviewer`` (the login name where none is given).

        Where another viewer has it, or its folder cannot be written to, it opens read-only, and `notice` says why.
        Raises DataError when the project or its journal is missing, damaged or another project's.
        """
        ready = project if isinstance(project, Project) else Project.open(project)
        name = (reviewer or _login()).strip() or "unknown"
        ledger = Ledger(ready, take_up(ready, name, read_only))
        try:
            return cls(ledger, name)
        except BaseException:
            ledger.close()
            raise

    def close(self) -> None:
        """Force the journal to disk and let others in. A second call does nothing."""
        self._ledger.close()

    # -- looking -------------------------------------------------------------------------------

    @property
    def read_only(self) -> bool:
        """Whether actions are refused; `notice` says why."""
        return self._ledger.read_only

    @property
    def notice(self) -> str:
        """What the person has to know of how the project was opened; "" when there is nothing."""
        return self._ledger.notice

    @property
    def place(self) -> Place:
        """Where the reviewer is."""
        return self._walk.place

    @property
    def again(self) -> bool:
        """Whether the organoid under review was passed over before, and the way has gone round to it."""
        return self._walk.again

    @property
    def history(self) -> History:
        """Every line of the journal so far."""
        return self._ledger.history

    def state(self, image: str | None = None) -> ImageState:
        """The organoids of an image as they stand now (of the present one where none is named). Do not change it."""
        return self._ledger.state(image or self.place.image)

    def load(self, image: str | None = None) -> Image:
        """An image's plane (H, W), its hash proven; DataError when it was moved or changed, with what to do."""
        return self._ledger.load(image or self.place.image)

    def load_ahead(self) -> None:
        """Begin to read the image that comes next, in a thread; `load` then has it at once."""
        key = self._walk.following()
        if key is not None:
            self._ledger.prepare(key)

    def progress(self) -> Progress:
        """Counts over the whole project; images nobody has touched are not read."""
        return self._ledger.progress()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with every Outcome that changed something; the result stops it."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    # -- moving --------------------------------------------------------------------------------

    def go(self, image: str, organoid: int | None = None) -> Place:
        """Jump to an image, and to one of its organoids (the first undecided one where none is named)."""
        place = self._walk.go(image, organoid)
        self._watch.start()
        return place

    def next(self) -> Place | None:
        """The next undecided organoid of this image; after the last the image itself; then the next image.

        Organoids that were passed over come again after the last (see `again`), until a round in which nothing is
        decided; `previous` and `go` reach them at any time. None at the end.
        """
        return self._reached(self._walk.next())

    def previous(self) -> Place | None:
        """The organoid before this one in the order, decided or not, then the image before; None at the start."""
        return self._reached(self._walk.previous())

    def next_image(self) -> Place | None:
        """The next image that is not complete, in the order of the queue; None when there is none after this."""
        return self._reached(self._walk.next_image())

    def previous_image(self) -> Place | None:
        """The image before this one in the queue, complete or not; None at the start."""
        return self._reached(self._walk.previous_image())

    def _reached(self, place: Place | None) -> Place | None:
        if place is not None:
            self._watch.start()
        return place

    def pause(self) -> None:
        """Stop the clock: somebody went for coffee."""
        self._watch.pause()

    def resume(self) -> None:
        """Let the clock run again."""
        self._watch.resume()

    # -- acting --------------------------------------------------------------------------------

    def accept(self, organoid: int | None = None) -> Outcome:
        """It is an organoid and its outline is right."""
        number = self._number(organoid)
        return self._do("accept", actions.decide(self._open_state(), number, "accepted"), number)

    def reject(self, organoid: int | None = None) -> Outcome:
        """It is no organoid."""
        number = self._number(organoid)
        return self._do("reject", actions.decide(self._open_state(), number, "rejected"), number)

    def replace(self, mask: Mask, organoid: int | None = None) -> Outcome:
        """Give it another outline, and accept it."""
        number = self._number(organoid)
        return self._do("replace", actions.replace(self._open_state(), number, mask), number)

    def draw(self, mask: Mask, category: int | None = None) -> Outcome:
        """Add an organoid that the model missed; it becomes the one under review."""
        state = self._open_state()
        chosen = self._category(min(self.project.classes) if category is None else category)
        number = state.first_free
        return self._do("draw", actions.draw(state, mask, chosen, self._source), number)

    def split(self, parts: Sequence[Mask], organoid: int | None = None) -> Outcome:
        """Part it into ``parts``, which get new ids; the first becomes the one under review."""
        state = self._open_state()
        changes = actions.split(state, self._number(organoid), parts, self._source)
        return self._do("split", changes, state.first_free)

    def merge(self, organoids: Sequence[int]) -> Outcome:
        """Make one of several; it gets a new id and becomes the one under review."""
        state = self._open_state()
        return self._do("merge", actions.merge(state, organoids, self._source), state.first_free)

    def delete(self, organoid: int | None = None) -> Outcome:
        """Remove it. To say that the model was wrong, `reject` it instead."""
        return self._do("delete", actions.delete(self._open_state(), self._number(organoid)), None)

    def set_class(self, category: int, organoid: int | None = None) -> Outcome:
        """Give it another class."""
        number = self._number(organoid)
        changes = actions.set_class(self._open_state(), number, self._category(category))
        return self._do("set_class", changes, number)

    def complete(self, accept_rest: bool = False) -> Outcome:
        """Say that every organoid of the image is outlined and decided on.

        UsageError while some are undecided, unless ``accept_rest`` accepts them.
        """
        state = self._open_state()
        if state.unseen and not accept_rest:
            raise UsageError(
                f"{len(state.unseen)} organoids of this image are not decided on",
                remedy="Accept or reject them first, or accept all that are left.",
            )
        return self._do("complete", actions.accept_rest(state), None, True)

    def reopen(self) -> Outcome:
        """Take back that the image is complete, so that it can be edited."""
        if not self.state().complete:
            return self._nothing("reopen")
        return self._do("reopen", (), self.place.organoid, False)

    def undo(self, image: str | None = None) -> Outcome | None:
        """Take back the latest action of anybody, in any image or in one; None when there is none. Moves there."""
        return self._turn(UNDO, self.history.to_undo(image))

    def redo(self, image: str | None = None) -> Outcome | None:
        """Bring back what was undone last, in any image or in one; None when there is nothing. Moves there."""
        return self._turn(REDO, self.history.to_redo(image))

    def adopt(self, entries: Sequence[Entry], before: Sequence[int]) -> None:
        """Append work on one image that was done in another copy of the project (see `bundle.merge`).

        before: numbers there of the lines that both copies have. RunError when they cannot be written; what was written
        until then stands, and adopting the rest later completes it.
        """
        self._ledger.adopt(entries, before)

    @property
    def can_undo(self) -> bool:
        """Whether there is an action to take back."""
        return not self.read_only and self.history.to_undo() is not None

    @property
    def can_redo(self) -> bool:
        """Whether there is an action to bring back."""
        return not self.read_only and self.history.to_redo() is not None

    # -- inside --------------------------------------------------------------------------------

    @property
    def _source(self) -> str:
        return f"human:{self.reviewer}"

    def _number(self, organoid: int | None) -> int | None:
        return self.place.organoid if organoid is None else organoid

    def _category(self, category: int) -> int:
        if category not in self.project.classes:
            known = ", ".join(f"{n} {name}" for n, name in self.project.classes.items())
            raise UsageError(f"There is no class {category}", remedy=f"The project has {known}.")
        return category

    def _open_state(self) -> ImageState:
        """The present image's state, if it may be edited."""
        self._ledger.check_writable()
        state = self.state()
        if state.complete:
            raise UsageError("This image is marked complete", remedy="Reopen it, then change it.")
        return state

    def _nothing(self, action: str) -> Outcome:
        state = self.state()
        return Outcome(0, action, self.place.image, (), self.place.organoid, state.complete)

    def _do(
        self, action: str, changes: Changes, selected: int | None, complete: bool | None = None
    ) -> Outcome:
        if not changes and complete is None:
            return self._nothing(action)
        state = self.state()
        was = state.complete if complete is not None else None
        entry = self._entry(action, self.place.image, changes, complete, was)
        return self._write(entry, changes, complete, selected)

    def _turn(self, action: str, entry: Entry | None) -> Outcome | None:
        self._ledger.check_writable()
        if entry is None:
            return None
        changes, mark = inverse(entry) if action == UNDO else (entry.changes, entry.complete)
        line = self._entry(action, entry.image, of=entry.number)
        self.state(entry.image)
        return self._write(line, changes, mark, None, entry)

    def _entry(
        self,
        action: str,
        image: str,
        changes: Changes = (),
        complete: bool | None = None,
        was: bool | None = None,
        of: int | None = None,
    ) -> Entry:
        from organoseg import __version__

        return Entry(
            len(self.history) + 1,
            action,
            image,
            changes,
            complete,
            was,
            of,
            self._watch.read(),
            self.reviewer,
            timestamp(),
            self.project.facts.model,
            __version__,
        )

    def _write(
        self,
        entry: Entry,
        changes: Changes,
        complete: bool | None,
        selected: int | None,
        touched: Entry | None = None,
    ) -> Outcome:
        """Have it written, be where it happened, and tell the listeners. touched: what an undo or redo is about."""
        state = self._ledger.write(entry, changes, complete)
        self._watch.start()
        ids = (touched or entry).organoids
        if touched is not None:
            here = next((n for n in ids if n in state.organoids), None)
            selected = self._walk.first_undecided(entry.image) if here is None else here
        self._walk.be_at(Place(entry.image, selected if selected in state.organoids else None))
        outcome = Outcome(
            entry.number, entry.action, entry.image, ids, self.place.organoid, state.complete
        )
        for listener in list(self._listeners):
            listener(outcome)
        return outcome


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user: some containers
        return "unknown"
