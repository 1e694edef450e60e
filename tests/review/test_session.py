from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from organoseg.core import DataError, Mask, UsageError
from organoseg.review import Outcome, Project, ReviewSession, create_project
from organoseg.review.journal import read_journal
from organoseg.review.session import Place
from organoseg.review.stopwatch import Stopwatch
from tests.review.small import hashes, make_images, make_project, square


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def test_the_walk_visits_every_organoid_then_the_image_then_the_next(project: Project) -> None:
    with ReviewSession.open(project, "anna") as session:
        seen: list[Place] = [session.place]
        session.accept()
        while (place := session.next()) is not None:
            seen.append(place)
            if place.organoid is not None:
                session.accept()
        expected = [
            Place(p.key, n)
            for p in project.pictures
            for n in (*project.turn(p.key).organoids, None)
        ]
        assert seen == expected
        back = [session.place]
        while (place := session.previous()) is not None and len(back) < 20:
            back.append(place)
        assert (
            Place(project.pictures[0].key, project.turn(project.pictures[0].key).organoids[0])
            in back
        )


def test_next_goes_on_behind_what_was_drawn_deleted_or_split(project: Project) -> None:
    with ReviewSession.open(project) as session:
        queue = project.turn(session.place.image).organoids
        drawn = session.draw(square(50, 50, 5))
        assert session.place.organoid == drawn.selected == max(queue) + 1
        back = session.next()
        assert back == Place(session.place.image, queue[0]), "to the one that was interrupted"
        session.accept()
        assert session.next() == Place(session.place.image, queue[1])
        session.delete()
        assert session.next() == Place(session.place.image, queue[2])
        mask = session.state().organoids[queue[2]].mask
        session.split(
            [Mask(mask.y, mask.x, mask.bits[:6]), Mask(mask.y + 6, mask.x, mask.bits[6:])]
        )
        assert session.next() == Place(session.place.image, queue[3])


def test_what_was_passed_over_waits_and_comes_again_after_the_last(project: Project) -> None:
    with ReviewSession.open(project) as session:
        image = session.place.image
        first, second, third, fourth = project.turn(image).organoids
        assert session.next() == Place(image, second)
        session.accept()
        assert session.next() == Place(image, third)
        assert session.next() == Place(image, fourth)
        assert not session.again
        session.accept()
        assert session.next() == Place(image, first), "round to the first that was passed over"
        assert session.again
        session.reject()
        assert session.next() == Place(image, third)
        assert session.next() == Place(image), "the only one left was passed over just now"
        assert session.state().unseen == (third,)
        assert not session.again
        session.go(image, third)
        session.accept()
        assert session.next() == Place(image)
        after = session.next()
        assert after is not None
        assert after.image == project.pictures[1].key


def test_a_round_without_a_decision_is_the_last_one_so_that_nobody_is_held(
    project: Project,
) -> None:
    with ReviewSession.open(project) as session:
        image = session.place.image
        queue = project.turn(image).organoids
        seen = [session.place]
        while (place := session.next()) is not None and place.image == image:
            seen.append(place)
        assert seen == [Place(image, n) for n in (*queue, *queue, None)]
        assert session.go(image) == Place(image, queue[0]), "and they are open still"


def test_what_was_drawn_at_the_end_of_an_image_leaves_the_reviewer_there(
    project: Project,
) -> None:
    with ReviewSession.open(project) as session:
        image = session.place.image
        for _ in project.turn(image).organoids:
            session.accept()
            session.next()
        for _ in range(2):
            assert session.place == Place(image)
            session.draw(square(50, 50, 5))
            session.accept()
            assert session.next() == Place(image), "there may be more that were missed"
        session.draw(square(40, 50, 5))
        session.delete()
        assert session.next() == Place(image)


def test_each_action_says_what_to_draw_anew_and_is_on_disk_when_it_returns(
    project: Project,
) -> None:
    heard: list[Outcome] = []
    with ReviewSession.open(project, "anna") as session:
        stop = session.listen(heard.append)
        a, b, c, d = project.turn(session.place.image).organoids
        outcomes = [
            session.accept(a),
            session.reject(b),
            session.replace(square(1, 50, 9), c),
            session.merge([a, c]),
            session.set_class(1, d),
            session.complete(accept_rest=True),
        ]
        new = outcomes[3].selected
        assert [o.changed for o in outcomes] == [(a,), (b,), (c,), (a, c, new), (), (d,)]
        assert [o.number for o in outcomes] == [1, 2, 3, 4, 0, 5]  # the class was 1 already
        assert heard == [o for o in outcomes if o.number]
        stop()
        lines = read_journal(project.journal_path, project.id).lines
        assert [line["action"] for line in lines] == [
            "accept",
            "reject",
            "replace",
            "merge",
            "complete",
        ]
        assert {line["reviewer"] for line in lines} == {"anna"}
        assert all(line["model"] == "m@1" and line["at"].endswith("Z") for line in lines)
        merged = session.state().organoids[new]
        assert merged.parents == (a, c)
        assert merged.source == "human:anna"
        assert merged.mask.area == square(0, 0).area + 81


def test_overlapping_neighbours_stay_whole(project: Project) -> None:
    with ReviewSession.open(project) as session:
        first, second = project.turn(session.place.image).organoids[:2]
        before = session.state().organoids[second].mask
        session.replace(Mask(0, 0, np.ones((64, 64), bool)), first)
        assert session.state().organoids[second].mask is before


def test_undo_goes_back_over_images_and_restarts_and_redo_returns(project: Project) -> None:
    with ReviewSession.open(project) as session:
        start = session.state().instances()
        session.accept()
        session.draw(square(1, 1, 3))
        session.complete(accept_rest=True)
        session.next()
        session.reject()
        last = session.place.image
    with ReviewSession.open(project) as session:
        undone = session.undo()
        assert undone is not None
        assert undone.image == last
        rest = [session.undo() for _ in range(3)]
        assert [o.image for o in rest if o] == [project.pictures[0].key] * 3
        assert session.undo() is None
        assert not session.can_undo
        assert session.state(project.pictures[0].key).instances().to_rles() == start.to_rles()
    with ReviewSession.open(project) as session:
        while session.redo():
            pass
        assert session.state(project.pictures[0].key).complete
        assert len(session.state(project.pictures[0].key).organoids) == 5


def test_an_action_makes_what_was_undone_in_its_image_final_but_not_elsewhere(
    project: Project,
) -> None:
    first, second = (p.key for p in project.pictures[:2])
    with ReviewSession.open(project) as session:
        session.accept()
        session.go(second)
        session.accept()
        session.undo()
        session.undo()
        session.go(second)
        session.reject()
        assert session.history.to_redo(second) is None
        redone = session.redo()
        assert redone is not None
        assert redone.image == first


def test_ids_of_undone_organoids_are_not_used_again(project: Project) -> None:
    with ReviewSession.open(project) as session:
        number = session.draw(square(1, 1, 3)).selected
        session.undo()
    with ReviewSession.open(project) as session:
        assert session.draw(square(1, 1, 3)).selected == (number or 0) + 1


def test_a_complete_image_refuses_edits_until_it_is_reopened(project: Project) -> None:
    with ReviewSession.open(project) as session:
        with pytest.raises(UsageError, match="4 organoids of this image are not decided"):
            session.complete()
        session.complete(accept_rest=True)
        with pytest.raises(UsageError, match="complete"):
            session.draw(square(1, 1))
        session.reopen()
        session.draw(square(1, 1))


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda s: s.accept(999), "999 is not in this image"),
        (lambda s: s.draw(square(60, 60)), "beyond the image"),
        (lambda s: s.merge([s.place.organoid]), "two or more"),
        (lambda s: s.split([square(1, 1)]), "not parted"),
        (lambda s: s.set_class(7), "no class 7"),
        (lambda s: s.go("0" * 64), "no such image"),
    ],
)
def test_wrong_use_is_refused_with_words_and_writes_nothing(
    project: Project, action: object, words: str
) -> None:
    with ReviewSession.open(project) as session:
        before = project.journal_path.read_bytes()
        with pytest.raises(UsageError, match=words):
            action(session)  # type: ignore[operator]
        assert project.journal_path.read_bytes() == before


def test_a_second_viewer_looks_only_and_is_told_who_works(project: Project) -> None:
    with ReviewSession.open(project, "anna") as first:
        first.accept()
        with ReviewSession.open(project, "ben") as second:
            assert second.read_only
            assert "anna" in second.notice
            assert second.progress().decided == 1
            for action in (second.accept, second.undo, lambda: second.complete(accept_rest=True)):
                with pytest.raises(UsageError, match="looking only"):
                    action()
        first.reject()  # closing the second did not take the lock away
    with ReviewSession.open(project, "ben") as third:
        assert not third.read_only


def test_sources_are_byte_identical_after_a_review(tmp_path: Path, project: Project) -> None:
    before = hashes(tmp_path / "images")
    found = hashes(tmp_path / "P" / "found")
    with ReviewSession.open(project) as session:
        session.load()
        session.replace(square(3, 3))
        session.complete(accept_rest=True)
        session.load_ahead()
        session.next()
        session.load()
    assert hashes(tmp_path / "images") == before
    assert hashes(tmp_path / "P" / "found") == found


def test_moved_images_are_found_by_their_pixels_also_under_another_name(
    tmp_path: Path, project: Project
) -> None:
    key = project.pictures[0].key
    old = project.pictures[0].path
    (tmp_path / "images").rename(tmp_path / "moved")
    (tmp_path / "moved" / old.name).rename(tmp_path / "moved" / "renamed.tif")
    with (
        ReviewSession.open(project) as session,
        pytest.raises(DataError, match="no longer where") as e,
    ):
        session.load(key)
    assert "review find" in str(e.value.remedy)
    assert project.find_images(tmp_path / "moved") == []
    with ReviewSession.open(project.folder) as session:
        assert [session.load(p.key).shape for p in project.pictures] == [(64, 64)] * 3


def test_project_and_images_moved_together_are_still_together(tmp_path: Path) -> None:
    project = make_project(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    with ReviewSession.open(tmp_path / "b" / "P") as session:
        assert session.load(project.pictures[1].key).name == project.pictures[1].name


def test_a_changed_image_is_refused(project: Project) -> None:
    path = project.pictures[0].path
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8))
    with (
        ReviewSession.open(project) as session,
        pytest.raises(DataError, match="pixels have changed"),
    ):
        session.load(project.pictures[0].key)


def test_images_without_organoids_and_without_predictions(tmp_path: Path) -> None:
    make_images(tmp_path / "images", 2)
    project = create_project(tmp_path / "P", [tmp_path / "images"])
    with ReviewSession.open(project) as session:
        assert session.place.organoid is None
        session.complete()
        assert session.next() == Place(project.pictures[1].key)
        session.draw(square(5, 5))
        session.complete()
        assert session.next() is None
        assert session.progress().images_complete == 2


def test_planes_of_a_stack_are_pictures_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    stack = np.random.default_rng(0).integers(0, 255, (3, 32, 40), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "images" / "s.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    project = create_project(tmp_path / "P", [tmp_path / "images"])
    with ReviewSession.open(project) as session:
        planes = {p.name: session.load(p.key).pixels for p in project.pictures}
    assert {name: int(p.sum()) for name, p in planes.items()} == {
        f"s.tif[z={z}]": int(stack[z].sum()) for z in range(3)
    }


def test_two_thousand_organoids_are_accepted_with_one_small_line(tmp_path: Path) -> None:
    from organoseg.core import Instances
    from organoseg.io import write_instances

    make_images(tmp_path / "images", 1)
    masks = [square(i % 60, (i * 7) % 60, 3) for i in range(2000)]
    write_instances(tmp_path / "i.json", [("i0.tif", Instances.from_masks((64, 64), masks))])
    project = create_project(tmp_path / "P", [tmp_path / "images"], predictions=tmp_path / "i.json")
    with ReviewSession.open(project) as session:
        before = project.journal_path.stat().st_size
        session.complete(accept_rest=True)
        assert project.journal_path.stat().st_size - before < 64 * 1024
        assert session.progress().decided == 2000


def test_the_clock_stands_while_paused_and_never_counts_an_absence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("organoseg.review.stopwatch.monotonic", lambda: now[0])
    watch = Stopwatch()
    now[0] = 5
    watch.pause()
    now[0] = 50
    watch.resume()
    now[0] = 52
    assert watch.read() == 7
    now[0] = 5000
    assert watch.read() == 120
    watch.start()
    assert watch.read() == 0
