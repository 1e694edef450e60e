"""A world of synthetic pictures: one seed, one picture; what is outlined and what is not; impossible ranges."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from organoseg.core import UsageError
from organoseg.dataset.labelled import LabelledImage
from organoseg.dataset.scene import Scene, blur_limit
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.dataset.world import World

#: Nothing but organoids, sharp and apart.
PLAIN = Scene(
    typical=18, spread=0.15, clusters=0, focus=0, dense=0, grain=0, oblique=0, ragged=0, wall=0.7, clumps=0, blobs=0
)  # fmt: skip
CYSTS = SyntheticSpec(
    size=160, count=(3, 5), radius=(12.0, 26.0), overlap=0.0, kinds=(0, 1, 0), defocus=0.0, faint=0, debris=0,
    fibres=0, gradient=0.0, vignette=0.0, rim=0.0, noise=0.002, scene=PLAIN,
)  # fmt: skip


def made(seed: int, **changes: Any) -> LabelledImage:
    """A picture of cysts, with other values of the scene."""
    return make_image(seed, replace(CYSTS, scene=replace(PLAIN, **changes)))


def test_a_picture_follows_from_world_seed_and_number() -> None:
    world = World(size=96)
    one, same = world.picture(3, 5), list(world.pictures(3, 6))[5]
    assert one.image.identity == same.image.identity
    assert one.instances.to_rles() == same.instances.to_rles()
    others = {world.picture(3, 6).image.identity, world.picture(4, 5).image.identity}
    assert one.image.identity not in others


def test_a_world_shows_many_kinds_of_pictures() -> None:
    items = list(World(size=160).pictures(0, 14))
    kinds = {item.image.pixels.dtype for item in items}
    assert kinds == {np.dtype(np.uint8), np.dtype(np.uint16)}
    narrow = [item.image.pixels for item in items if item.image.pixels.dtype == np.uint8]
    assert max(p.mean() for p in narrow) > 1.7 * min(p.mean() for p in narrow)
    counts = [len(item.instances) for item in items]
    assert min(counts) < 4 < 9 < max(counts)
    wide = next(item.image.pixels for item in items if item.image.pixels.dtype == np.uint16)
    assert len(np.unique(wide)) > 256, "more greys than 8 bits have"


def test_outlines_lie_on_the_darkest_line_and_defocus_widens_it() -> None:
    """Where people draw: measured on real pictures, the darkest px of the wall are those at the outline."""
    sharp, soft = (profile(focus) for focus in (0.0, 2.5))
    assert abs(int(sharp.argmin()) - 6) <= 1, "px 6 is the first inside"
    assert abs(int(soft.argmin()) - 6) <= 2
    assert soft.min() > sharp.min() + 0.05, "blur takes contrast"
    assert sharp[0] > 0.93, "six px outside hardly anything is seen"


def profile(focus: float) -> np.ndarray[Any, Any]:
    """Mean grey against the field's, from 6 px outside to 6 px inside the outlines."""
    rows = []
    for seed in range(4):
        item = made(seed, focus=focus)
        grey = item.image.plane() / np.median(item.image.plane())
        for mask in item.instances.masks:
            y0, x0, y1, x1 = mask.box
            if min(y0, x0) < 9 or max(y1, x1) > 151:
                continue
            bits = np.zeros(grey.shape, bool)
            bits[y0:y1, x0:x1] = mask.bits
            far = np.where(bits, distance_transform_edt(bits), 1 - distance_transform_edt(~bits))
            rows.append([grey[(far > k) & (far <= k + 1)].mean() for k in range(-6, 6)])
    return np.asarray(np.mean(rows, axis=0))


def test_what_is_far_out_of_focus_is_seen_but_not_outlined() -> None:
    spec = replace(CYSTS, count=(0, 0), faint=8)
    pictures = [make_image(seed, spec) for seed in range(6)]
    assert not any(len(item.instances) for item in pictures)
    assert max(float(item.image.pixels.std()) for item in pictures) > 2
    assert blur_limit(30) > blur_limit(10) > blur_limit(10, "sphere")


def test_faint_ones_and_pieces_at_the_border_are_left_out() -> None:
    assert sum(len(made(seed, faintest=9.0).instances) for seed in range(4)) == 0
    crowded = replace(CYSTS, size=64, count=(6, 9))
    halves, pieces = (
        [
            item
            for seed in range(12)
            for item in make_image(seed, replace(crowded, scene=replace(PLAIN, least_seen=least))).instances.areas
        ]
        for least in (0.5, 0.0)
    )  # fmt: skip
    assert len(halves) < len(pieces), "the same pictures, with the pieces outlined"
    assert min(pieces) < 0.4 * min(halves)


def test_organoids_over_one_another_are_whole_and_darker_together() -> None:
    spec = replace(CYSTS, count=(6, 9), overlap=0.9)
    found = 0
    for seed in range(6):
        item = make_image(seed, spec)
        depth = item.instances.to_dense().sum(axis=0)
        found += int((depth > 1).any())
        if (depth > 1).sum() > 60:
            grey = item.image.plane().astype(float)
            assert grey[depth > 1].mean() < grey[depth == 0].mean()
    assert found >= 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"typical": (9.0, 4.0)}, {"rim": 1.5}, {"overlap": (-0.1, 0.2)}, {"noise": (0.2, 0.1)},
    ],
)  # fmt: skip
def test_impossible_worlds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        World(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"bits": 12}, {"level": 0.0}, {"least_seen": 2.0}, {"jpeg": 101}]
)
def test_impossible_scenes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Scene(**wrong)
