"""The teacher's views, and what its scores are worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from organoseg.core import Instances, Mask
from organoseg.distill.labeller import Labeller
from organoseg.distill.pool import Pool, matching_sharpness
from organoseg.distill.pseudo_labels import OrganoidFilter
from organoseg.distill.views import STRONG, change_light


class Thresholder:
    """Finds the one bright blob of an image, surer of it the larger the image is."""

    max_instances = 10

    def segment(self, pixels: torch.Tensor, score_threshold: float) -> list[Instances]:
        """One instance an image: what is above .5."""
        found = []
        for image in pixels[:, 0].numpy():
            mask = Mask.from_bits(image > 0.5)
            masks = [] if mask is None else [mask]
            found.append(Instances.from_masks(image.shape, masks, scores=[0.8] * len(masks)))
        return found


@pytest.mark.parametrize("zooms", [(1.0, 1.0), (0.5, 1.0, 2.0), (0.9, 1.15, 1.4, 1.7)])
def test_views_of_any_size_and_turn_come_back_to_the_image(zooms: tuple[float, ...]) -> None:
    pixels = torch.zeros(1, 1, 60, 90)
    pixels[0, 0, 10:40, 20:70] = 1
    labeller = Labeller(OrganoidFilter(), zooms)
    (found,) = labeller.predict(Thresholder(), pixels)  # type: ignore[arg-type]
    assert found.shape == (60, 90)
    assert len(found) == 1
    truth = Instances.from_masks((60, 90), [Mask(10, 20, np.ones((30, 50), bool))])
    assert truth.iou(found)[0, 0] > 0.93
    assert 0.75 < found.scores[0] <= 0.8  # they agree, so the score stays


def pool_of(scores: list[float]) -> Pool:
    masks = [Mask(0, 0, np.ones((4, 4), bool)) for _ in scores]
    return Pool((0,), (Instances.from_masks((100, 100), masks, scores=scores),), ("an image",))


def test_the_pool_expects_as_many_organoids_as_its_scores_are_worth() -> None:
    pool = pool_of([1.0, 0.5, 0.5])
    assert pool.density(1) * 1e4 == pytest.approx(2.0)
    assert pool.density(2) * 1e4 == pytest.approx(1.5)
    assert matching_sharpness(pool, 1.5e-4, 1, 6) == pytest.approx(2.0)


@given(
    st.lists(st.floats(0.05, 1.0), min_size=1, max_size=30),
    st.floats(1e-5, 5e-3),
)
def test_the_sharpness_matches_the_count_or_stays_in_its_bounds(
    scores: list[float], density: float
) -> None:
    pool = pool_of(scores)
    sharpness = matching_sharpness(pool, density, 1, 6)
    assert 1 <= sharpness <= 6
    if 1 < sharpness < 6:
        assert pool.density(sharpness) == pytest.approx(density, rel=1e-3)


def test_an_empty_pool_is_no_reason_to_fail() -> None:
    assert matching_sharpness(Pool((), (), ()), 1e-4, 1, 6) == 1


def test_a_strength_of_0_leaves_the_pixels_and_1_is_the_preset() -> None:
    pixels = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    same = change_light(np.random.default_rng(1), pixels, STRONG.scaled(0))
    assert np.allclose(same, pixels, atol=1e-5)
    assert STRONG.scaled(1) == STRONG
