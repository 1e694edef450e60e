"""One person at work on a review project: where they are, what they do, and every action on disk before it shows.

No Qt: a viewer shows `ReviewSession.state`, calls the actions, and draws anew what their `Outcome` names.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from organoseg.core import DataError, Image, Mask, UsageError
from organoseg.review import actions
from organoseg.review.actions import Changes
from organoseg.review.ahead import Ahead
from organoseg.review.history import REDO, UNDO, Entry, History, inverse, many_objects
from organoseg.review.journal import Journal, read_journal
from organoseg.review.lock import ProjectLock
from organoseg.review.project import Project
from organoseg.review.state import ImageState
from organoseg.review.stopwatch import Stopwatch, timestamp

Listener = Callable[["Outcome"], None]


@dataclass(frozen=True)
class Place:
    """Where the reviewer is. organoid None: nothing is left to decide; look for missed ones, then mark complete."""

    image: str
    organoid: int | None = None


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


@dataclass(frozen=True)
class Progress:
    """How far the review is. seconds: time that went into the actions; seconds_each: by organoid decided."""

    images: int
    images_complete: int
    organoids: int
    decided: int
    seconds: float

    @property
    def seconds_each(self) -> float | None:
        """Mean seconds an organoid took; None before the first."""
        return self.seconds / self.decided if self.decided else None


class ReviewSession:
    """See the module. Made by `open`; use as a context manager or `close` it."""

    def __init__(
        self,
        project: Project,
        history: History,
        reviewer: str,
        journal: Journal | None,
        notice: str,
    ) -> None:
        self.project, self.reviewer, self.notice = project, reviewer, notice
        self._history, self._journal = history, journal
        self._lock: ProjectLock | None = None
        self._states: dict[str, ImageState] = {}
        self._listeners: list[Listener] = []
        self._watch = Stopwatch()
        self._ahead = Ahead()
        #: Position of `place` in its image's queue: -1 before it, its length behind it.
        self._at = -1
        self.place = Place(project.pictures[0].key)
        self._arrive(self._first_place())

    # -- opening and closing -------------------------------------------------------------------

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
        if read_only:
            return cls._looking(ready, name, "Opened for looking only.")
        lock = ProjectLock(ready.folder)
        try:
            taken = lock.take(name)
        except OSError as error:
            reason = error.strerror or str(error)
            return cls._looking(
                ready, name, f"This folder cannot be written to ({reason}): looking only."
            )
        if not taken:
            text = f"This project is open already: {lock.holder()}. Until it is closed there, you can only look."
            return cls._looking(ready, name, text)
        try:
            return cls._writing(ready, name, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _writing(cls, project: Project, reviewer: str, lock: ProjectLock) -> ReviewSession:
        notice = ""
        with many_objects():
            journal = Journal(project.journal_path, project.id)
            try:
                history = _history(project, journal.lines)
            except BaseException:
                journal.close()
                raise
            journal.lines = []
        if journal.aside is not None:
            notice = (
                "The last action was only half written when the program ended and is left out; "
                f"its rest is kept in {journal.aside.name}."
            )
        try:
            session = cls(project, history, reviewer, journal, notice)
        except BaseException:
            journal.close()
            raise
        session._lock = lock
        return session

    @classmethod
    def _looking(cls, project: Project, reviewer: str, notice: str) -> ReviewSession:
        with many_objects():
            lines = read_journal(project.journal_path, project.id).lines
            history = _history(project, lines)
        return cls(project, history, reviewer, None, notice)

    @property
    def read_only(self) -> bool:
        """Whether actions are refused; `notice` says why."""
        return self._journal is None

    def close(self) -> None:
        """Force the journal to disk and let others in. A second call does nothing."""
        self._ahead.close()
        journal, self._journal = self._journal, None
        try:
            if journal is not None:
                self.notice = "The review is closed."
                journal.close()
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def __enter__(self) -> ReviewSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- looking -------------------------------------------------------------------------------

    def state(self, image: str | None = None) -> ImageState:
        """The organoids of an image as they stand now (of the present one where none is named). Do not change it."""
        key = image or self.place.image
        if key not in self._states:
            self._states[key] = _folded(self.project, self._history, key, self._ahead.prepared(key))
        return self._states[key]

    def load(self, image: str | None = None) -> Image:
        """An image's plane (H, W), its hash proven; DataError when it was moved or changed, with what to do."""
        return self._ahead.take(self.project.picture(image or self.place.image))

    def load_ahead(self) -> None:
        """Begin to read the image that comes next, in a thread; `load` then has it at once."""
        key = self._following()
        if key is not None:
            self._ahead.begin(self.project.picture(key))
            if key not in self._states:
                self._ahead.prepare(key, self.project.first_state)

    @property
    def history(self) -> History:
        """Every line of the journal so far."""
        return self._history

    def progress(self) -> Progress:
        """Counts over the whole project; images nobody has touched are not read."""
        complete = total = decided = 0
        touched = set(self._history.images)
        for picture in self.project.pictures:
            if picture.key not in touched:
                total += len(self.project.turn(picture.key).organoids)
                continue
            state = self.state(picture.key)
            complete += state.complete
            total += len(state.organoids)
            decided += len(state.organoids) - len(state.unseen)
        seconds = sum(entry.seconds for entry in self._history.entries)
        return Progress(len(self.project.pictures), complete, total, decided, seconds)

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
        state = self.state(image)
        if organoid is None:
            organoid = self._first_undecided(image)
        else:
            actions.organoid_of(state, organoid)
        return self._arrive(Place(image, organoid))

    def next(self) -> Place | None:
        """The next undecided organoid of this image; after the last the image itself; then the next image.

        Organoids that were passed over are not offered again, but `previous` and `go` reach them. None at the end.
        """
        here, queue, state = self.place.image, self._queue(self.place.image), self.state()
        for at in range(self._at + 1, 0 if state.complete else len(queue)):
            organoid = state.organoids.get(queue[at])
            if organoid is not None and organoid.status == "unseen":
                return self._arrive(Place(here, organoid.id))
        if self._at < len(queue) and not state.complete:
            return self._arrive(Place(here))
        return self.next_image()

    def previous(self) -> Place | None:
        """The organoid before this one in the order, decided or not, then the image before; None at the start."""
        here, queue, state = self.place.image, self._queue(self.place.image), self.state()
        for at in range(min(self._at, len(queue)) - 1, -1, -1):
            if queue[at] in state.organoids:
                return self._arrive(Place(here, queue[at]))
        return self.previous_image()

    def next_image(self) -> Place | None:
        """The next image that is not complete, in the order of the queue; None when there is none after this."""
        key = self._following()
        return None if key is None else self.go(key)

    def previous_image(self) -> Place | None:
        """The image before this one in the queue, complete or not; None at the start."""
        at = self.project.number(self.place.image)
        return self.go(self.project.pictures[at - 1].key) if at > 0 else None

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
        return self._turn(UNDO, self._history.to_undo(image))

    def redo(self, image: str | None = None) -> Outcome | None:
        """Bring back what was undone last, in any image or in one; None when there is nothing. Moves there."""
        return self._turn(REDO, self._history.to_redo(image))

    def adopt(self, entries: Sequence[Entry], before: Sequence[int]) -> None:
        """Append work on one image that was done in another copy of the project (see `bundle.merge`).

        before: numbers there of the lines that both copies have. RunError when they cannot be written; what was written
        until then stands, and adopting the rest later completes it.
        """
        self._check_writable()
        assert self._journal is not None  # noqa: S101 - just checked
        image = entries[0].image
        ours = [e.number for e in self._history.of_image(image)]
        numbers = dict(zip(before, ours, strict=True))
        for entry in entries:
            numbers[entry.number] = len(self._history) + 1
            of = None if entry.of is None else numbers[entry.of]
            line = replace(entry, number=numbers[entry.number], of=of)
            self._journal.append(line.record())
            self._history.add(line)
        self._journal.flush()
        self._states.pop(image, None)

    @property
    def can_undo(self) -> bool:
        """Whether there is an action to take back."""
        return not self.read_only and self._history.to_undo() is not None

    @property
    def can_redo(self) -> bool:
        """Whether there is an action to bring back."""
        return not self.read_only and self._history.to_redo() is not None

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
        self._check_writable()
        state = self.state()
        if state.complete:
            raise UsageError("This image is marked complete", remedy="Reopen it, then change it.")
        return state

    def _check_writable(self) -> None:
        if self._journal is None:
            raise UsageError(
                "Nothing can be changed here: the project is open for looking only",
                where=self.project.folder,
                remedy=self.notice,
            )

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
        self._check_writable()
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
            len(self._history) + 1,
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
        """Journal first, then memory: what is shown is always on disk."""
        assert self._journal is not None  # noqa: S101 - every caller has checked it
        state = self.state(entry.image)
        trial = ImageState(
            state.shape, state.organoids, state.complete, state.first_free, state.version
        )
        trial.apply(changes, complete)
        self._journal.append(entry.record())
        self._history.add(entry)
        self._states[entry.image] = trial
        self._watch.start()
        ids = (touched or entry).organoids
        if touched is not None:
            here = next((n for n in ids if n in trial.organoids), None)
            selected = self._first_undecided(entry.image) if here is None else here
        self._move(Place(entry.image, selected if selected in trial.organoids else None))
        outcome = Outcome(
            entry.number, entry.action, entry.image, ids, self.place.organoid, trial.complete
        )
        for listener in list(self._listeners):
            listener(outcome)
        return outcome

    def _arrive(self, place: Place) -> Place:
        self._move(place)
        if place.organoid is None:
            self._at = len(self._queue(place.image))
        self._watch.start()
        return place

    def _move(self, place: Place) -> None:
        """Be there; the position in the queue stays where it is for an organoid that is not in it."""
        queue = self._queue(place.image)
        if place.organoid in queue:
            self._at = queue.index(place.organoid)
        elif place.image != self.place.image:
            self._at = -1
        self.place = place

    def _queue(self, image: str) -> tuple[int, ...]:
        return self.project.turn(image).organoids

    def _first_undecided(self, image: str) -> int | None:
        state = self.state(image)
        if state.complete:
            return None
        there = state.organoids
        return next(
            (n for n in self._queue(image) if n in there and there[n].status == "unseen"), None
        )

    def _following(self) -> str | None:
        """The next image that is not complete."""
        at = self.project.number(self.place.image)
        return next(
            (p.key for p in self.project.pictures[at + 1 :] if not self._is_complete(p.key)), None
        )

    def _is_complete(self, image: str) -> bool:
        marks = [e.complete for e in self._history.standing(image) if e.complete is not None]
        return bool(marks and marks[-1])

    def _first_place(self) -> Place:
        """Where the last action was, else the first image that is not complete."""
        last = self._history.entries[-1].image if len(self._history) else None
        keys = [p.key for p in self.project.pictures]
        if last in keys and not self._is_complete(last):
            start = last
        else:
            start = next((k for k in keys if not self._is_complete(k)), keys[0])
        return Place(start, self._first_undecided(start))


def _history(project: Project, lines: Sequence[Mapping[str, Any]]) -> History:
    """The journal's lines, known to be about this project."""
    try:
        history = History(lines)
    except DataError as error:
        raise _senseless(project, error.what) from error
    for key in [key for key in history.images if not project.has(key)]:
        # A bundle takes the whole journal along but only some of the images.
        history.set_aside(key)
    for entry in history.entries:
        for change in entry.changes:
            category = (change.after or {}).get("category")
            if category is not None and category not in project.classes:
                what = f"Line {entry.number} of the journal gives a class {category} that the project does not have"
                raise _senseless(project, what)
    return history


def _folded(
    project: Project, history: History, key: str, prepared: ImageState | None
) -> ImageState:
    """An image's organoids after all that was done; ``prepared``: its first state, where it was read ahead."""
    first = prepared or project.first_state(key)
    try:
        return history.fold(key, first)
    except DataError as error:
        name = project.picture(key).name
        raise _senseless(project, f"{error.what}, in the image {name}") from error


def _senseless(project: Project, what: str) -> DataError:
    return DataError(
        what,
        where=project.journal_path,
        remedy="Restore journal.jsonl from a backup. Nothing was changed or deleted.",
    )


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user: some containers
        return "unknown"
