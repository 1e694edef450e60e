"""Who is who over the frames of a series."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tracking import LinkScore, score, spoilt_case
from organoseg.core import DataError, Instances
from organoseg.dataset.synthetic_series import Flaws, SeriesSpec, make_series
from organoseg.tracking.cost import LinkSettings
from organoseg.tracking.drift import drift
from organoseg.tracking.link import link
from organoseg.tracking.tracks import SeriesTracks, track_series

pytest.importorskip("laptrack", reason="tracking needs laptrack: pip install 'organoseg[track]'")

SIZE = 160
Disc = tuple[float, float, float]


def frame(*discs: Disc, size: int = SIZE) -> Instances:
    """Discs (y, x, radius), which may overlap."""
    rows, columns = np.mgrid[:size, :size]
    dense = [np.hypot(rows - y, columns - x) <= radius for y, x, radius in discs]
    if not dense:
        return Instances.empty((size, size))
    return Instances.from_dense(np.array(dense))


def tracked(frames: Sequence[Instances], **links: float) -> SeriesTracks:
    named = [(f"t{k}", float(k), found) for k, found in enumerate(frames)]
    return track_series("s", named, LinkSettings(**links))  # type: ignore[arg-type]


def lives(series: SeriesTracks) -> list[list[int]]:
    """The frames of each track."""
    return [[place for place, _ in track.nodes] for track in series.tracks]


FAR = ((30.0, 30.0, 10.0), (30.0, 120.0, 14.0), (120.0, 30.0, 8.0), (120.0, 120.0, 17.0))


@pytest.mark.parametrize(
    ("spec", "flaws"),
    [
        (SeriesSpec(), Flaws()),
        (SeriesSpec(count=(40, 50), overlap=0.35), Flaws()),
        (SeriesSpec(), Flaws(missed=0.1, rough=2, invented=0.05)),
    ],
    ids=["usual", "crowded", "poor masks"],
)
def test_at_least_95_percent_of_the_links_of_known_identities_are_right(
    spec: SeriesSpec, flaws: Flaws
) -> None:
    total = LinkScore()
    for seed in (101, 102, 103):
        found, names = spoilt_case(seed, spec, flaws)
        own = score(names, link(found).tracks)
        assert min(own.recall, own.precision) >= 0.95, f"series {seed}: {own}"
        total += own
    assert total.true > 400
    assert min(total.recall, total.precision) >= 0.97


def test_a_series_is_the_same_for_a_seed_and_its_organoids_move_grow_come_and_go() -> None:
    first, second, other = (make_series(seed, SeriesSpec(frames=8)) for seed in (7, 7, 8))
    assert [f.image.identity for f in first] == [f.image.identity for f in second]
    assert first[0].image.identity != other[0].image.identity
    ids = [set(f.instances.ids.tolist()) for f in first]
    assert ids[-1] - ids[0], "none appeared"
    kept = ids[0] & ids[-1]
    areas = [
        dict(zip(f.instances.ids.tolist(), f.instances.areas.tolist(), strict=True)) for f in first
    ]
    assert sum(areas[-1][i] > 1.1 * areas[0][i] for i in kept) > len(kept) / 2


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.data())
def test_every_organoid_is_in_one_track_and_the_order_in_a_frame_does_not_matter(
    seed: int, data: st.DataObject
) -> None:
    spec = SeriesSpec(size=128, frames=5, count=(0, 9), appear=0.2, vanish=0.2)
    frames = [f.instances for f in make_series(seed, spec, Flaws(0.15), pixels=False)]
    tracks = link(frames).tracks
    nodes = [node for track in tracks for node in track]
    assert sorted(nodes) == [(k, i) for k, f in enumerate(frames) for i in range(len(f))]
    assert all(a[0] < b[0] <= a[0] + 3 for t in tracks for a, b in itertools.pairwise(t))
    orders = [data.draw(st.permutations(range(len(f)))) for f in frames]
    mixed = [f.select(np.array(order, np.int64)) for f, order in zip(frames, orders, strict=True)]
    again = {tuple((k, orders[k][i]) for k, i in track) for track in link(mixed).tracks}
    assert again == set(tracks)


def test_growing_and_moving_discs_keep_their_numbers() -> None:
    frames = [
        frame(*((y + 2 * k, x - 3 * k, r * 1.05**k) for y, x, r in FAR), (80, 80, 9))
        for k in range(6)
    ]
    series = tracked(frames)
    assert lives(series) == [list(range(6))] * 5
    assert {track.origin for track in series.tracks} == {"from the start"}
    assert {track.fate for track in series.tracks} == {"to the end"}
    grown = series.tracks[0].growth
    assert grown is not None
    assert grown.rate == pytest.approx(2 * np.log(1.05), abs=0.02)
    assert grown.doubling == pytest.approx(np.log(2) / grown.rate)


def test_two_that_cross_while_they_overlap_keep_their_identities() -> None:
    """Their centres come within a radius; size and overlap tell them apart."""
    frames = [frame((80, 50 + 10 * k, 18), (84, 110 - 10 * k, 9)) for k in range(7)]
    series = tracked(frames)
    assert lives(series) == [list(range(7))] * 2
    areas = [[series.frames[f].areas[i] for f, i in t.nodes] for t in series.tracks]
    assert all(len(set(own)) == 1 for own in areas)


@pytest.mark.parametrize("missed", [1, 2])
def test_one_missed_for_a_while_is_found_again(missed: int) -> None:
    frames = [
        frame(*FAR, (80, 80, 9)) if k not in range(2, 2 + missed) else frame(*FAR) for k in range(6)
    ]
    series = tracked(frames)
    assert len(series.tracks) == 5
    assert [track.missed for track in series.tracks] == [0, 0, 0, 0, missed]


def test_one_missed_for_longer_than_the_gap_begins_anew() -> None:
    frames = [frame(*FAR) if k in (2, 3) else frame(*FAR, (80, 80, 9)) for k in range(6)]
    series = tracked(frames, gap=1)
    assert len(series.tracks) == 6
    assert [t.fate for t in series.tracks] == [*["to the end"] * 4, "lost", "to the end"]
    assert series.tracks[5].origin == "appeared"


def test_two_that_become_one_are_told_from_one_hidden_by_another() -> None:
    apart = frame(*FAR, (80, 70, 10), (80, 92, 12))
    one = frame(*FAR, (80, 83, 16))
    merged = tracked([apart, apart, one, one])
    gone = next(t for t in merged.tracks if t.fate != "to the end")
    assert (gone.fate, merged.tracks[gone.heir - 1].fate) == ("merged into", "to the end")  # type: ignore[operator]
    over = frame(*FAR, (80, 78, 7), (80, 82, 17))
    hidden = tracked([over, over, frame(*FAR, (80, 82, 17)), frame(*FAR, (80, 82, 17))])
    assert sorted(t.fate for t in hidden.tracks).count("hidden by") == 1
    back = tracked([one, one, apart, apart])
    assert [t.origin for t in back.tracks].count("split off") == 1


def test_one_that_leaves_over_the_border_went_out_and_one_that_enters_came_in() -> None:
    frames = [frame(*FAR, (80, 8 - 6 * k, 9)) for k in range(3)] + [frame(*FAR)] * 2
    fates = [track.fate for track in tracked(frames).tracks]
    assert fates == ["to the end"] * 4 + ["went out"]
    assert [t.origin for t in tracked(frames[::-1]).tracks] == ["from the start"] * 4 + ["came in"]


@pytest.mark.parametrize("step", [(0, 0), (9, -14), (-31, 26)])
def test_a_movement_of_the_whole_field_is_found_and_taken_away(step: tuple[int, int]) -> None:
    discs = (*FAR, (75.0, 75.0, 11.0), (60.0, 100.0, 7.0))
    places = [(y + 45, x + 45, r) for y, x, r in discs]
    before = frame(*places, size=256)
    after = frame(*((y + step[0], x + step[1], r) for y, x, r in places), size=256)
    assert drift(before, after) == pytest.approx(step, abs=0.5)
    series = tracked([before, after])
    assert lives(series) == [[0, 1]] * 6
    assert series.drifts[1] == pytest.approx(step, abs=0.5)


def test_organoids_that_go_their_own_ways_are_no_drift() -> None:
    rng = np.random.default_rng(3)
    discs = [(y, x, 8.0) for y in range(30, 150, 40) for x in range(30, 150, 40)]
    steps = rng.normal(0, 5, (len(discs), 2))
    moved = [(y + a, x + b, r) for (y, x, r), (a, b) in zip(discs, steps, strict=True)]
    assert np.hypot(*drift(frame(*discs), frame(*moved))) < 4
    assert drift(frame(FAR[0]), frame((60, 60, 10))) == (0, 0)


def test_empty_frames_and_empty_series_are_no_trouble() -> None:
    none = frame()
    assert tracked([none, none]).tracks == ()
    assert tracked([]).tracks == ()
    series = tracked([none, frame(*FAR), none, frame(*FAR), none])
    assert lives(series) == [[1, 3]] * 4


def test_a_track_grows_by_no_more_than_may_be() -> None:
    frames = [frame((80, 80, 6)), frame((80, 80, 40))]
    assert lives(tracked(frames)) == [[0], [1]]


def test_frames_of_two_sizes_are_an_error() -> None:
    with pytest.raises(DataError, match="one size"):
        tracked([frame(*FAR), frame(*FAR, size=200)])
