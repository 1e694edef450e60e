"""Synthetic organoids: the same for one seed, exact masks, overlaps and budding shapes kept."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoseg.core import UsageError
from organoseg.dataset.optics import draw_look, transmission
from organoseg.dataset.shapes import Kind, draw_shape
from organoseg.dataset.synthetic import SyntheticSpec, iter_images, make_dataset, make_image

KINDS: tuple[Kind, ...] = ("sphere", "cyst", "bud")


def test_one_seed_one_image() -> None:
    one, same, other = make_image(3), make_image(3), make_image(4)
    assert one.image.identity == same.image.identity
    assert one.instances.to_rles() == same.instances.to_rles()
    assert one.image.identity != other.image.identity
    assert one.image.pixels.dtype == np.uint8
    assert one.image.shape == one.instances.shape == (256, 256)


def test_sets_of_different_seeds_share_no_image() -> None:
    spec = SyntheticSpec(size=96, count=(1, 4))
    first, second = make_dataset(0, 12, spec), make_dataset(1, 12, spec)
    assert len({item.image.identity for data in (first, second) for item in data}) == 24
    assert len({item.image.group for item in first}) == 12
    assert not set(first.names) & set(second.names)
    assert [item.name for item in iter_images(0, 12, spec)] == list(first.names)


def test_the_default_set_has_what_organoids_are_hard_for() -> None:
    data = make_dataset(7, 12)
    shares = np.concatenate([item.instances.overlap_fraction() for item in data])
    assert 5 < data.mean_count < 14
    assert 0.1 < np.mean(shares > 0.1) < 0.6, "some overlap, not all"
    sources = {source for item in data for source in item.instances.sources}
    assert sources == {"synthetic sphere", "synthetic cyst", "synthetic bud"}
    areas = np.concatenate([item.instances.areas for item in data])
    assert areas.min() >= 40
    assert areas.max() > 20 * np.median(np.sort(areas)[:20])
    for item in data:
        assert item.image.pixels.std() > 3, "something is to be seen"
        assert np.mean((item.image.pixels == 0) | (item.image.pixels == 255)) < 0.2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(KINDS), st.floats(4, 40))
def test_a_mask_is_one_piece_within_its_reach(seed: int, kind: Kind, radius: float) -> None:
    from scipy.ndimage import label

    shape = draw_shape(np.random.default_rng(seed), kind, 150.0, 150.0, radius)
    y, x = np.mgrid[0:301, 0:301].astype(float)
    mask = shape.depth(y, x) > 0
    assert label(mask)[1] == 1
    assert np.hypot(y - 150, x - 150)[mask].max() <= shape.reach
    assert mask.sum() > 0.7 * np.pi * radius**2


def test_buds_are_not_convex() -> None:
    from skimage.measure import regionprops

    def solidity(kind: Kind) -> float:
        y, x = np.mgrid[0:160, 0:160].astype(float)
        shapes = [draw_shape(np.random.default_rng(s), kind, 80, 80, 28) for s in range(20)]
        masks = [(shape.depth(y, x) > 0).astype(int) for shape in shapes]
        return float(np.mean([regionprops(mask)[0].solidity for mask in masks]))

    assert solidity("bud") < 0.93 < 0.97 < solidity("cyst")


def test_a_cyst_has_a_dark_wall_and_a_clear_lumen() -> None:
    y, x = np.mgrid[0:120, 0:120].astype(float)
    wall, lumen = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shape = draw_shape(rng, "cyst", 60, 60, 30)
        look = draw_look(rng, shape, blur=0.5, light=0.0)
        light, depth = transmission(rng, shape, look, y, x), shape.depth(y, x)
        wall.append(light[(depth > 0) & (depth < 3)].mean())
        lumen.append(light[depth > 12].mean())
        assert abs(light[depth < -15] - 1).max() < 0.02, "light passes unchanged elsewhere"
    assert np.mean(wall) < 0.8 < 0.88 < np.mean(lumen)


def test_an_empty_field_may_be_asked_for() -> None:
    spec = SyntheticSpec(size=64, count=(0, 0), debris=0, fibres=0, faint=0)
    item = make_image(0, spec)
    assert len(item.instances) == 0
    assert item.image.pixels.min() > 10


def test_no_overlap_when_none_is_asked_for() -> None:
    spec = SyntheticSpec(overlap=0.0)
    assert max(item.instances.overlap_fraction().max() for item in make_dataset(1, 6, spec)) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 8},
        {"count": (5, 2)},
        {"radius": (0.5, 4)},
        {"overlap": 1.5},
        {"kinds": (0, 0, 0)},
        {"defocus": -1},
        {"faint": -1},
        {"noise": -0.1},
        {"min_area": 0},
    ],
)
def test_impossible_specs_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SyntheticSpec(**wrong)


def test_only_buds_works_for_small_bodies() -> None:
    spec = SyntheticSpec(size=64, radius=(5, 8), kinds=(0, 0, 1), count=(3, 3))
    assert set(make_image(0, spec).instances.sources) == {"synthetic bud"}
