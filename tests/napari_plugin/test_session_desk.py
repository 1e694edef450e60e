"""What the Review panel asks of a review on disk: what is skipped waits, and what is said is true. No window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from organoseg.core import UsageError
from organoseg.review import ReviewSession
from organoseg_napari.session_desk import SessionDesk
from tests.review.small import make_project, square


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[SessionDesk]:
    made = SessionDesk(ReviewSession.open(make_project(tmp_path, 2)))
    yield made
    made.close()


def test_what_was_skipped_is_gone_back_to_after_the_last(desk: SessionDesk) -> None:
    first = desk.current()
    desk.next()
    for _ in range(3):
        assert not desk.place().again
        desk.accept()
    assert desk.current() == first
    assert desk.place().again
    assert (desk.place().judged, desk.place().organoids) == (3, 4)
    desk.accept()
    assert desk.current() is None
    assert desk.place().judged == 4


def test_a_drawing_leads_back_to_the_organoid_that_it_interrupted(desk: SessionDesk) -> None:
    interrupted = desk.current()
    desk.draw(square(50, 50, 5))
    desk.accept()
    assert desk.current() == interrupted
    assert not desk.place().again


def test_how_many_are_not_judged_is_said_in_the_right_number(desk: SessionDesk) -> None:
    with pytest.raises(UsageError, match=r"4 organoids of this image are not judged.*accept them"):
        desk.complete()
    for _ in range(3):
        desk.reject()
    last = desk.current()
    with pytest.raises(UsageError, match=r"1 organoid of this image is not judged.*accept it as"):
        desk.complete()
    desk.complete()
    assert desk.organoids().keys() & {last} == set(), "on to the next image"
    assert desk.place().not_done == 1


def test_the_end_of_the_queue_says_what_is_left(desk: SessionDesk) -> None:
    desk.open_image(1)
    desk.session.complete(accept_rest=True)
    with pytest.raises(UsageError, match=r"end of the queue; 1 image is not done"):
        desk.next()


def test_why_an_organoid_is_looked_at_is_always_said(desk: SessionDesk, tmp_path: Path) -> None:
    turn = desk.session.project.turn(desk.session.place.image)
    why = {number: item.why for number, item in desk.organoids().items()}
    assert all(why.values())
    assert {number: why[number] for number in turn.reasons} == turn.reasons
    drawn = desk.draw(square(50, 50, 5))
    assert desk.organoids()[drawn].why == "", "the user knows why"
