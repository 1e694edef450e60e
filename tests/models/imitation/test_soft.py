"""Soft masks: what a teacher says of each pixel, and how a student takes it up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from organoseg.core import DataError, Instances, Mask
from organoseg.core.soft_mask import MARGIN, SoftMask, dilated, mean_of
from organoseg.models.compact.engine import CompactSegmenter
from organoseg.models.compact.network import draw_masks
from organoseg.models.ensemble import Thorough
from organoseg.models.imitation import Imitation, first_order, zero_order
from organoseg.models.protocol import Target
from organoseg.models.soft import SoftInstances, soft_instances

torch.set_num_threads(1)


def disc(side: int, y: float, x: float, radius: float) -> np.ndarray[Any, Any]:
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows + 0.5 - y, columns + 0.5 - x) <= radius


def engine(seed: int = 0) -> CompactSegmenter:
    torch.manual_seed(seed)
    made = CompactSegmenter(width=16, frozen_blocks=0).eval()
    with torch.no_grad():  # speaks for many places, and draws something at each
        made.network.score.bias.fill_(0.0)
        made.network.score.weight.mul_(40)
        made.network.controller.weight.mul_(8)
    return made


class WithoutSoft:
    """An engine that gives masks alone."""

    max_instances = 9

    def __init__(self, instances: Instances) -> None:
        self.instances = instances

    def segment(self, pixels: torch.Tensor, score_threshold: float = 0.05) -> list[Instances]:
        return [self.instances] * len(pixels)

    def losses(self, pixels: torch.Tensor, targets: Any) -> dict[str, torch.Tensor]:
        raise AssertionError("a look trains nothing")

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        raise AssertionError("a look trains nothing")


def test_a_soft_mask_travels_with_its_mask() -> None:
    rng = np.random.default_rng(1)
    bits = np.zeros((20, 30), bool)
    bits[3:9, 5:20] = rng.random((6, 15)) < 0.7
    bits[3, 5] = bits[8, 19] = True
    instances = Instances.from_dense(bits[None])
    soft = SoftMask.of(instances.masks[0], (20, 30), 0.5)
    for axis in (0, 1):
        moved = SoftMask.of(instances.flip(axis).masks[0], (20, 30), 0.5)
        found = soft.flip((20, 30), axis)
        assert found.box == moved.box
        np.testing.assert_array_equal(found.values, moved.values)
    for k in range(-1, 4):
        turned = instances.rot90(k)
        moved = SoftMask.of(turned.masks[0], turned.shape, 0.5)
        found = soft.rot90((20, 30), k)
        assert found.box == moved.box
        np.testing.assert_array_equal(found.values, moved.values)


def test_resampling_keeps_places() -> None:
    ramp = np.tile(np.linspace(0, 1, 16, dtype=np.float32), (8, 1))
    soft = SoftMask(0, 0, ramp)
    same = soft.resampled((0, 0, 8, 16), (8, 16), (8, 16))
    np.testing.assert_allclose(same.values, ramp, atol=1e-6)
    twice = soft.resampled((0, 0, 16, 32), (8, 16), (16, 32))
    np.testing.assert_allclose(twice.values.reshape(8, 2, 16, 2).mean((1, 3)), ramp, atol=0.02)


def test_the_mean_of_two_drawings() -> None:
    a = SoftMask(0, 0, np.ones((2, 2), np.float32))
    b = SoftMask(0, 1, np.full((2, 2), 0.5, np.float32))
    found = mean_of([a, b], [3.0, 1.0], (0, 0, 2, 3), 0.7)
    np.testing.assert_allclose(found.values, [[0.75, 0.875, 0.125]] * 2)
    assert found.score == pytest.approx(0.7)


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan")])
def test_what_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(DataError):
        SoftMask(0, 0, np.full((2, 2), value, np.float32))


def test_compact_says_softly_what_it_says() -> None:
    model = engine()
    pixels = torch.randn(1, 1, 64, 80, generator=torch.Generator().manual_seed(2))
    hard, soft = model.segment(pixels, 0.3), model.segment_soft(pixels, 0.3)
    assert sum(map(len, hard)) > 0
    alike = []
    for plain, both in zip(hard, soft, strict=True):
        assert plain.scores.tolist() == both.instances.scores.tolist()
        for mask, one, score in zip(plain.masks, both.soft, plain.scores, strict=True):
            assert one.box == dilated(mask.box, plain.shape)
            assert one.score == pytest.approx(float(score))
            y, x = mask.y - one.y, mask.x - one.x
            inner = one.values[y : y + mask.bits.shape[0], x : x + mask.bits.shape[1]]
            alike.append(((inner > 0.5) == mask.bits).mean())
    # A vote of hard drawings and a mean of soft ones draw the line at nearly one place.
    assert np.mean(alike) > 0.85


def test_an_engine_without_soft_masks_is_taken_at_its_word() -> None:
    instances = Instances.from_dense(disc(64, 30, 30, 9)[None], scores=[0.8])
    found = soft_instances(WithoutSoft(instances), torch.zeros(1, 1, 64, 64), 0.1)[0]
    soft = found.soft[0]
    y0, x0, y1, x1 = instances.masks[0].box
    assert soft.box == (y0 - MARGIN, x0 - MARGIN, y1 + MARGIN, x1 + MARGIN)
    assert set(np.unique(soft.values)) == {0.0, 1.0}
    assert soft.values.sum() == instances.areas[0]


def test_views_that_disagree_are_unsure() -> None:
    class Wavering(WithoutSoft):
        """Draws half a disc in every other view."""

        asked = 0

        def segment(self, pixels: torch.Tensor, score_threshold: float = 0.05) -> list[Instances]:
            self.asked += 1
            bits = disc(64, 32, 32, 12)
            if self.asked % 2 == 0:  # the second view is turned upside down and mirrored: rows swap
                bits = bits & (np.arange(64)[:, None] >= 32)
            return [Instances.from_dense(bits[None], scores=[0.8])]

    looks = Thorough(Wavering(Instances.empty((64, 64))), (1.0, 1.0))  # type: ignore[arg-type]
    found = looks.segment_soft(torch.zeros(1, 1, 64, 64), 0.1)[0]
    assert len(found.instances) == 1
    values = np.zeros((64, 64), np.float32)
    y0, x0, y1, x1 = found.soft[0].box
    values[y0:y1, x0:x1] = found.soft[0].values
    assert values[28, 32] == 1.0  # both views
    assert values[38, 32] == 0.5  # one of two
    plain = Thorough(Wavering(Instances.empty((64, 64))), (1.0, 1.0)).segment(  # type: ignore[arg-type]
        torch.zeros(1, 1, 64, 64), 0.1
    )[0]
    assert plain.scores.tolist() == found.instances.scores.tolist()


def test_a_target_knows_how_many_soft_masks_it_has() -> None:
    target = Target.labelled(Instances.from_dense(disc(64, 30, 30, 9)[None]))
    with pytest.raises(DataError, match="soft"):
        replace(target, soft=())


# -- compact as the student ------------------------------------------------------------------


def taught(radius: float = 9.0, score: float = 0.6) -> tuple[torch.Tensor, Target]:
    bits = disc(64, 32, 32, radius)
    pixels = torch.from_numpy(bits.astype(np.float32))[None, None]
    target = Target.labelled(Instances.from_dense(bits[None]))
    rng = np.random.default_rng(5)
    mask = target.instances.masks[0]
    y0, x0, y1, x1 = dilated(mask.box, (64, 64))
    values = np.clip(bits[y0:y1, x0:x1] * 0.8 + rng.random((y1 - y0, x1 - x0)) * 0.2, 0, 1)
    return pixels, replace(target, soft=(SoftMask(y0, x0, values.astype(np.float32), score),))


def test_without_imitation_nothing_changes() -> None:
    pixels, target = taught()
    model = engine()
    plain = model.losses(pixels, [replace(target, soft=None)])
    assert set(plain) == {"score", "dice", "pixel"}
    model.imitation = Imitation(1.0, 5.0)
    both = model.losses(pixels, [target])
    for name, value in plain.items():
        assert torch.equal(value, both[name])
    assert both["zero_order"] > 0
    assert both["first_order"] > 0
    nobody = model.losses(pixels, [replace(target, soft=(None,))])
    assert nobody["zero_order"] == 0
    assert nobody["first_order"] == 0


def test_the_terms_are_the_losses_at_the_positive_locations() -> None:
    from organoseg.models.compact.assignment import assign, window_mean

    pixels, target = taught()
    model = engine()
    model.imitation = Imitation(2.0, 3.0)
    found = model.losses(pixels, [target])
    scores, features, masks = model.network(pixels)
    a = assign([target], 8, (64, 64), (1,))
    at = [torch.from_numpy(v) for v in (a.image, a.row, a.column)]
    drawn = draw_masks(masks[8], model.network.controller(features[8][at[0], :, at[1], at[2]]), *at)
    soft = target.soft[0] if target.soft else None
    assert soft is not None
    zero = first = 0.0
    for k in range(len(at[0])):
        row, column = int(a.row[k]), int(a.column[k])
        said = window_mean(soft.values, soft.y, soft.x, row, column, 8)
        box = window_mean(np.ones(soft.values.shape), soft.y, soft.x, row, column, 8)
        known = torch.from_numpy((box > 0.5) & (a.inside[k] > 0))[None]
        pair = drawn[k : k + 1].sigmoid(), torch.from_numpy(said)[None], known
        sure = scores[8][0, 0, row, column].sigmoid()
        zero += 0.6 * (zero_order(*pair) + (sure - 0.6) ** 2)
        first += 0.6 * first_order(*pair)
    assert found["zero_order"].item() == pytest.approx(2 * zero.item() / len(at[0]), rel=1e-5)
    assert found["first_order"].item() == pytest.approx(3 * first.item() / len(at[0]), rel=1e-5)


def test_a_student_takes_up_what_its_teacher_says() -> None:
    pixels, target = taught(score=0.9)
    model = engine().train()
    model.imitation = Imitation(1.0, 5.0)
    optimiser = torch.optim.Adam(model.parameters(), 4e-3)
    course = []
    for _ in range(10):
        optimiser.zero_grad()
        terms = model.losses(pixels, [target])
        imitated = terms["zero_order"] + terms["first_order"]
        imitated.backward()
        optimiser.step()
        course.append(imitated.item())
    assert course[-1] < 0.6 * course[0]


def test_parts_of_a_batch_add_up() -> None:
    pixels, target = taught()
    other = replace(target, soft=(None,))
    model = engine()
    model.imitation = Imitation()
    whole = model.losses(pixels.repeat(2, 1, 1, 1), [target, other])
    count = model.denominators((64, 64), [target, other])
    model.normaliser = lambda value: count[0]
    parts = [model.losses(pixels, [one]) for one in (target, other)]
    for name, value in whole.items():
        assert value.item() == pytest.approx(sum(p[name].item() for p in parts), rel=1e-5)


def test_soft_instances_are_as_many_as_instances() -> None:
    bits = disc(16, 8, 8, 4)
    mask = Mask.from_bits(bits)
    assert mask is not None
    with pytest.raises(DataError):
        SoftInstances(Instances.from_masks((16, 16), [mask]), ())
