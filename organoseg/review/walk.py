"""Where the reviewer is among the images and their organoids, and where next and back lead."""

from __future__ import annotations

from dataclasses import dataclass

from organoseg.review import actions
from organoseg.review.ledger import Ledger


@dataclass(frozen=True)
class Place:
    """Where the reviewer is. organoid None: nothing is left to decide; look for missed ones, then mark complete."""

    image: str
    organoid: int | None = None


class Walk:
    """A way through the project's queue. What is passed over in an image waits: the way goes round after the last."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._project = ledger, ledger.project
        #: Position of `place` in its image's queue: -1 before it, its length behind it.
        self._at = -1
        #: Whether nothing was under review when the present place was reached, and nothing was done there since.
        self._at_image = False
        #: How many were undecided when the way last went round in this image; None in the first round.
        self._left: int | None = None
        self.place = Place(self._project.pictures[0].key)
        self._arrive(self._first_place())

    def go(self, image: str, organoid: int | None = None) -> Place:
        """Jump to an image, and to one of its organoids (the first undecided one where none is named)."""
        state = self._ledger.state(image)
        if organoid is None:
            organoid = self.first_undecided(image)
        else:
            actions.organoid_of(state, organoid)
        return self._arrive(Place(image, organoid))

    @property
    def again(self) -> bool:
        """Whether the way has gone round in this image, back to what was passed over."""
        return self._left is not None and self.place.organoid is not None

    def next(self) -> Place | None:
        """The next undecided organoid of this image, those that were passed over last; then the image itself; then the
        next image. A round in which nothing is decided is the last one: nobody is held in an image."""
        here, state = self.place.image, self._ledger.state(self.place.image)
        queue = self._queue(here)
        if not state.complete and not self._at_image:
            waiting = [n for n in queue[self._start(queue) :] if n in state.unseen]
            return self._arrive(Place(here, waiting[0] if waiting else self._round(queue)))
        return self.next_image()

    def _start(self, queue: tuple[int, ...]) -> int:
        """Where in the queue to look on. One that was drawn or made meanwhile leads back to the one it interrupted."""
        at = max(self._at, 0)
        return at + 1 if at < len(queue) and queue[at] == self.place.organoid else at

    def _round(self, queue: tuple[int, ...]) -> int | None:
        """The first organoid of another round; None where there is none, or the round before has changed nothing."""
        unseen = self._ledger.state(self.place.image).unseen
        waiting = [n for n in queue if n in unseen]
        if waiting in ([], [self.place.organoid]) or len(waiting) == self._left:
            return None
        self._left = len(waiting)
        return waiting[0]

    def previous(self) -> Place | None:
        """The organoid before this one in the order, decided or not, then the image before; None at the start."""
        here, state = self.place.image, self._ledger.state(self.place.image)
        queue = self._queue(here)
        for at in range(min(self._at, len(queue)) - 1, -1, -1):
            if queue[at] in state.organoids:
                return self._arrive(Place(here, queue[at]))
        return self.previous_image()

    def next_image(self) -> Place | None:
        """The next image that is not complete, in the order of the queue; None when there is none after this."""
        key = self.following()
        return None if key is None else self.go(key)

    def previous_image(self) -> Place | None:
        """The image before this one in the queue, complete or not; None at the start."""
        at = self._project.number(self.place.image)
        return self.go(self._project.pictures[at - 1].key) if at > 0 else None

    def following(self) -> str | None:
        """The next image that is not complete; `next_image` leads there."""
        at = self._project.number(self.place.image)
        later = (p.key for p in self._project.pictures[at + 1 :])
        return next((key for key in later if not self._ledger.is_complete(key)), None)

    def first_undecided(self, image: str) -> int | None:
        """The first organoid of an image's queue that nobody decided on; None where the image is complete."""
        state = self._ledger.state(image)
        if state.complete:
            return None
        there = state.organoids
        return next(
            (n for n in self._queue(image) if n in there and there[n].status == "unseen"), None
        )

    def be_at(self, place: Place) -> None:
        """Be there; the position in the queue stays where it is for an organoid that is not in it."""
        queue = self._queue(place.image)
        if place.image != self.place.image:
            self._left = None
        if place.organoid in queue:
            self._at = queue.index(place.organoid)
        elif place.image != self.place.image:
            self._at = -1
        self._at_image = False
        self.place = place

    def _arrive(self, place: Place) -> Place:
        self.be_at(place)
        if place.organoid is None:
            self._at, self._at_image = len(self._queue(place.image)), True
        return place

    def _queue(self, image: str) -> tuple[int, ...]:
        return self._project.turn(image).organoids

    def _first_place(self) -> Place:
        """Where the last action was, else the first image that is not complete."""
        history, done = self._ledger.history, self._ledger.is_complete
        last = history.entries[-1].image if len(history) else None
        keys = [p.key for p in self._project.pictures]
        first = next((k for k in keys if not done(k)), keys[0])
        start = last if last in keys and not done(last) else first
        return Place(start, self.first_undecided(start))
