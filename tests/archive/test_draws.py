"""Who is drawn how often, and who never."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from organoseg.archive.blocks import Blocks
from organoseg.archive.draws import RARE, make_draws
from organoseg.archive.manifest import Manifest
from organoseg.core import DataError
from tests.archive.small_archives import array_ref, manifest_of

Z = ["best", "any", "max", "min"]


def keys_seen(manifest: Manifest, draws: Any, blocks: int = 2) -> set[tuple[int, int, int, int]]:
    """Every plane that goes into the crops of some blocks."""
    plan = Blocks(draws, seed=3, crop=20, reads=8, crops=2)
    views = {w.view for n in range(blocks) for w in plan.block(n).windows}
    views |= {plan.again(k, 1).view for k in range(8)}
    return {manifest.key(int(row)) for view in views for row in draws.views.stack(view)}


@st.composite
def archives(draw: st.DrawFn) -> tuple[Manifest, set[tuple[int, ...]], set[str]]:
    """An archive with random stacks, groups and duplicates, and what must not be seen of it."""
    arrays = []
    for number in range(draw(st.integers(1, 6))):
        shape = (draw(st.integers(1, 2)), 1, draw(st.integers(1, 3)), 40, 70)
        group = draw(st.sampled_from("abcd"))
        arrays.append(array_ref("nowhere", str(number), shape, image=number * 7, group=group))
    plain = manifest_of(arrays)
    keys = [plain.key(row) for row in range(len(plain.planes.array))]
    places = [(key[0] // 7, *key[1:]) for key in keys]
    twins = {p: draw(st.integers(0, 4)) for p in places if draw(st.integers(0, 2)) == 0}
    focus = {p: draw(st.floats(0, 2)) for p in places}
    manifest = manifest_of(arrays, twins=twins, focus=focus)
    excluded = {key for key in keys if draw(st.integers(0, 3)) == 0}
    groups = {g for g in "abcd" if draw(st.integers(0, 4)) == 0}
    return manifest, excluded, groups


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(archives(), st.sampled_from(Z), st.integers(0, 2**32))
def test_nothing_excluded_is_ever_drawn(
    archive: tuple[Manifest, set[tuple[int, ...]], set[str]], z: Any, seed: int
) -> None:
    manifest, excluded, groups = archive
    rows = range(len(manifest.planes.array))
    names = {array.image: array.group for array in manifest.arrays}
    keys = {row: manifest.key(row) for row in rows}
    bad = {row for row in rows if keys[row] in excluded or names[keys[row][0]] in groups}
    twins = {int(manifest.planes.twin[row]) for row in bad}
    forbidden = {keys[row] for row in rows if int(manifest.planes.twin[row]) in twins}
    try:
        draws = make_draws(manifest, z=z, exclude=excluded, exclude_groups=groups)
    except DataError:
        if z == "any":
            assert len(forbidden) == len(keys)
        return
    assert not forbidden & keys_seen(manifest, draws)
    everything = {
        manifest.key(int(row)) for view in draws.cells.plane for row in draws.views.stack(int(view))
    }
    assert not forbidden & everything


def shares(draws: Any, what: Any, count: int = 40_000) -> Counter[Any]:
    rows = draws.pick(np.random.default_rng(0).random(count))
    return Counter(what(int(row)) for row in rows)


def test_every_group_is_drawn_and_a_huge_one_drowns_none() -> None:
    arrays = [
        array_ref("nowhere", str(n), (64, 64), image=n, group="huge" if n < 400 else f"small {n}")
        for n in range(404)
    ]
    manifest = manifest_of(arrays)
    found = make_draws(manifest).groups()
    # Roots of 400 and of 1: 20 to 1 instead of 400 to 1.
    assert found["huge"] == pytest.approx(20 / 24)
    assert all(found[f"small {n}"] == pytest.approx(1 / 24) for n in range(400, 404))
    alike = make_draws(manifest, alpha=0).groups()
    assert set(alike) == set(found)
    assert all(share == pytest.approx(1 / 5) for share in alike.values())


def test_crops_follow_the_weights_wherever_regions_begin() -> None:
    empty = {(0, y, x) for y in range(0, 128, 32) for x in range(0, 128, 32)} - {(0, 32, 64)}
    manifest = manifest_of([array_ref("nowhere", "0", (128, 128))], empty=empty)
    draws = make_draws(manifest)
    chance = draws.chances[(draws.cells.y == 32) & (draws.cells.x == 64)][0]
    assert chance == pytest.approx(1 / (1 + 15 * RARE))
    plan = Blocks(draws, seed=0, crop=1, reads=64, crops=4)
    windows = [w for n in range(40) for w in plan.block(n).windows]
    hits = sum(32 <= w.y < 64 and 64 <= w.x < 96 for w in windows) / len(windows)
    assert hits == pytest.approx(chance, abs=0.02)


def test_empty_and_blurred_cells_are_rare_but_not_never() -> None:
    arrays = [array_ref("nowhere", str(n), (1, 1, 4, 32, 64), image=n) for n in range(4)]
    focus = {(n, 0, 0, z): 1.0 if z == 1 else 0.1 for n in range(4) for z in range(4)}
    empty = {(n, 0, 0) for n in range(4)}
    manifest = manifest_of(arrays, focus=focus, empty=empty)
    # With three planes of four out of focus, the sharp ones still tell what is usual.
    draws = make_draws(manifest, z="any")
    cells = draws.cells
    good = (cells.x == 32) & (cells.focus == 1)
    assert (draws.weights[good] == 1).all()
    rare = draws.weights[cells.x == 0]
    assert (rare == RARE).all()
    seen = shares(draws, lambda row: bool(good[row]))
    assert seen[True] > 2 * seen[False] > 0


def test_best_plane_of_a_stack_and_one_of_each_set_of_duplicates() -> None:
    arrays = [array_ref("nowhere", str(n), (2, 1, 3, 32, 32), image=n) for n in range(3)]
    focus = {(0, 0, 0, 2): 5.0, (0, 1, 0, 0): 5.0}
    twins = {(1, 0, 0, 0): 9, (2, 0, 0, 0): 9}
    manifest = manifest_of(arrays, focus=focus, twins=twins)
    seen = {manifest.key(int(p)) for p in make_draws(manifest).views.plane}
    assert {(0, 0, 0, 2), (0, 1, 0, 0), (1, 0, 0, 0)} <= seen
    assert (2, 0, 0, 0) not in seen


def test_an_archive_of_validation_images_alone_is_an_error() -> None:
    manifest = manifest_of([array_ref("nowhere", "0", (32, 32), group="test")])
    with pytest.raises(DataError, match="may be drawn"):
        make_draws(manifest, exclude_groups={"test"})
