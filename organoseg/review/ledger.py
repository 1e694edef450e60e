"""All images as they stand now: what the model found and every line of the journal since. Written first, then shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from organoseg.core import DataError, Image, UsageError
from organoseg.review.actions import Changes
from organoseg.review.ahead import Ahead
from organoseg.review.history import Entry
from organoseg.review.opening import Opened, senseless
from organoseg.review.project import Project
from organoseg.review.state import ImageState


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


class Ledger:
    """The project's images by key, and the only one who adds to its journal."""

    def __init__(self, project: Project, opened: Opened) -> None:
        self.project, self.history = project, opened.history
        self._opened: Opened | None = opened
        self._journal = opened.journal
        self._states: dict[str, ImageState] = {}
        self._ahead = Ahead()
        #: Why nothing can be written, or what else the person has to know.
        self.notice = opened.notice

    @property
    def read_only(self) -> bool:
        """Whether nothing can be added; `notice` says why."""
        return self._journal is None

    def check_writable(self) -> None:
        """UsageError where nothing can be added."""
        if self.read_only:
            raise UsageError(
                "Nothing can be changed here: the project is open for looking only",
                where=self.project.folder,
                remedy=self.notice,
            )

    def close(self) -> None:
        """Force the journal to disk and let others in. A second call does nothing."""
        self._ahead.close()
        opened, self._opened = self._opened, None
        if not self.read_only:
            self.notice = "The review is closed."
            self._journal = None
        if opened is not None:
            opened.close()

    # -- reading -------------------------------------------------------------------------------

    def state(self, key: str) -> ImageState:
        """The organoids of an image after all that was done; DataError when the journal does not fit them."""
        if key not in self._states:
            first = self._ahead.prepared(key) or self.project.first_state(key)
            try:
                self._states[key] = self.history.fold(key, first)
            except DataError as error:
                name = self.project.picture(key).name
                raise senseless(self.project, f"{error.what}, in the image {name}") from error
        return self._states[key]

    def is_complete(self, key: str) -> bool:
        """An image's mark, told from the journal alone: what the model found in it is not read."""
        marks = [e.complete for e in self.history.standing(key) if e.complete is not None]
        return bool(marks and marks[-1])

    def load(self, key: str) -> Image:
        """An image's plane (H, W), its hash proven; DataError when it was moved or changed, with what to do."""
        return self._ahead.take(self.project.picture(key))

    def prepare(self, key: str) -> None:
        """Begin to read an image and its organoids, in a thread."""
        self._ahead.begin(self.project.picture(key))
        if key not in self._states:
            self._ahead.prepare(key, self.project.first_state)

    def progress(self) -> Progress:
        """Counts over the whole project; images nobody has touched are not read."""
        complete = total = decided = 0
        touched = set(self.history.images)
        for picture in self.project.pictures:
            if picture.key not in touched:
                total += len(self.project.turn(picture.key).organoids)
                continue
            state = self.state(picture.key)
            complete += state.complete
            total += len(state.organoids)
            decided += len(state.organoids) - len(state.unseen)
        seconds = sum(entry.seconds for entry in self.history.entries)
        return Progress(len(self.project.pictures), complete, total, decided, seconds)

    # -- writing -------------------------------------------------------------------------------

    def write(self, entry: Entry, changes: Changes, complete: bool | None) -> ImageState:
        """Journal first, then memory: what is shown is always on disk. Returns the image's state after it.

        changes, complete: what the line does, which an undo does not say itself. Raises DataError where they do not fit
        the image, RunError when the disk does not take the line; nothing is changed then.
        """
        self.check_writable()
        state = self.state(entry.image)
        trial = ImageState(
            state.shape, state.organoids, state.complete, state.first_free, state.version
        )
        trial.apply(changes, complete)
        self._append(entry)
        self._states[entry.image] = trial
        return trial

    def adopt(self, entries: Sequence[Entry], before: Sequence[int]) -> None:
        """Append work on one image that was done in another copy of the project; see `ReviewSession.adopt`."""
        self.check_writable()
        image = entries[0].image
        ours = [e.number for e in self.history.of_image(image)]
        numbers = dict(zip(before, ours, strict=True))
        for entry in entries:
            numbers[entry.number] = len(self.history) + 1
            of = None if entry.of is None else numbers[entry.of]
            self._append(replace(entry, number=numbers[entry.number], of=of))
        assert self._journal is not None  # noqa: S101 - just checked
        self._journal.flush()
        self._states.pop(image, None)

    def _append(self, entry: Entry) -> None:
        assert self._journal is not None  # noqa: S101 - every caller has checked it
        self._journal.append(entry.record())
        self.history.add(entry)
