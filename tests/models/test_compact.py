"""The compact engine: who speaks for which organoid, where masks land, and that overlaps stay whole."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from organoseg.core import DataError, Instances, Mask
from organoseg.models.compact.assignment import _window_target, assign, levels_of, middle_of
from organoseg.models.compact.decode import decode
from organoseg.models.compact.engine import CompactSegmenter
from organoseg.models.compact.layout import (
    DYNAMIC_PARAMETERS,
    FINER,
    HIDDEN,
    LEVELS,
    MASK_CHANNELS,
    WINDOW,
)
from organoseg.models.compact.network import draw_masks
from organoseg.models.protocol import Target

Bits = NDArray[np.bool_]


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> Bits:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(rows + 0.5 - y, columns + 0.5 - x) <= radius


def horseshoe(shape: tuple[int, int], y: float, x: float, radius: float) -> Bits:
    """A ring that is open to the right: its centroid lies outside it."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    ring = disc(shape, y, x, radius) & ~disc(shape, y, x, radius * 0.5)
    return ring & ~((columns > x) & (np.abs(rows + 0.5 - y) < radius * 0.4))


def labelled(*bits: Bits) -> Target:
    return Target.labelled(Instances.from_dense(np.stack(bits)))


# -- assignment ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "levels"), [(10, [8]), (50, [8, 16]), (80, [16]), (100, [16, 32]), (500, [32])]
)
def test_an_organoids_size_decides_which_levels_speak_for_it(size: int, levels: list[int]) -> None:
    assert levels_of(size) == levels


def test_a_disc_is_spoken_for_by_the_locations_around_its_centre() -> None:
    found = assign([labelled(disc((96, 96), 52, 44, 22))], 8, (96, 96), (1,))
    # Location (row, column) of stride 8 sits at pixel (8 row + 4, 8 column + 4): (6, 5) is the centre itself.
    assert (found.row[0], found.column[0]) == (6, 5)
    assert {(r, c) for r, c in zip(found.row, found.column, strict=True)} <= {
        (6, 5), (5, 5), (7, 5), (6, 4), (6, 6),
    }  # fmt: skip
    assert len(found.row) == 3
    assert found.image.tolist() == [0, 0, 0]
    assert found.label.tolist() == [0, 0, 0]
    assert found.known[0, 6, 5] == 1
    assert found.known[0, 0, 0] == 1  # background counts
    assert found.known[0, 5:8, 4:7].min() == 0  # beside the centre: neither organoid nor background


@pytest.mark.parametrize("stride", [16, 32])
def test_other_levels_keep_silent_about_it(stride: int) -> None:
    found = assign([labelled(disc((96, 96), 52, 44, 18))], stride, (96, 96), (1,))
    assert found.row.size == 0
    assert found.known.min() == 1


def test_a_tiny_organoid_between_locations_is_still_spoken_for() -> None:
    bits = np.zeros((64, 64), bool)
    bits[31:33, 14:18] = True  # no location inside
    found = assign([labelled(bits)], 8, (64, 64), (1,))
    assert found.row.size >= 1
    assert found.masks[0].sum() * 4 == pytest.approx(8)


def test_overlapping_organoids_share_the_locations_and_neither_is_lost() -> None:
    a, b = disc((96, 96), 44, 40, 18), disc((96, 96), 48, 50, 18)
    found = assign([labelled(a, b)], 8, (96, 96), (1,))
    places = list(zip(found.row.tolist(), found.column.tolist(), strict=True))
    assert len(places) == len(set(places))
    areas = [float(m.sum()) * 4 for m in found.masks]
    wholes = [_window_target(Mask.from_bits(m), 0, 0, 8) for m in (a, b)]  # type: ignore[arg-type]
    assert len(wholes) == 2
    ours = {
        i
        for k in range(len(places))
        for i, bits in enumerate((a, b))
        if np.array_equal(
            found.masks[k],
            _window_target(Mask.from_bits(bits), found.row[k], found.column[k], 8),  # type: ignore[arg-type]
        )
    }
    assert ours == {0, 1}
    assert min(areas) == pytest.approx(a.sum(), rel=0.01)  # a mask is never cut to fit another


def test_a_budding_organoid_speaks_from_inside_itself() -> None:
    bits = horseshoe((96, 96), 48, 48, 24)
    mask = Mask.from_bits(bits)
    assert mask is not None
    y, x = middle_of(mask)
    assert bits[int(y), int(x)]
    rows, columns = np.nonzero(bits)
    assert not bits[int(rows.mean()), int(columns.mean())]  # its centroid is not


def test_a_doubtful_organoid_is_neither_organoid_nor_background() -> None:
    bits = disc((96, 96), 48, 48, 20)
    instances = Instances.from_dense(bits[None])
    one = np.ones(1, np.float32)
    found = assign([Target(instances, one, one, np.array([True]))], 8, (96, 96), (1,))
    assert found.row.size == 0
    at = bits[4::8, 4::8]
    assert (found.known[0][at] == 0).all()
    assert (found.known[0][~at] == 1).all()


def test_weights_and_background_arrive_where_they_belong() -> None:
    instances = Instances.from_dense(disc((96, 96), 52, 44, 18)[None])
    target = Target(
        instances, np.array([0.25], np.float32), np.array([0.5], np.float32), np.array([False]), 0.1
    )
    found = assign([labelled(disc((96, 96), 20, 20, 12)), target], 8, (96, 96), (1,))
    second = found.image == 1
    assert found.weight[second].tolist() == [0.25] * int(second.sum())
    assert found.confidence[second].tolist() == [0.5] * int(second.sum())
    assert found.known[1, 6, 5] == 1  # doubt is in the soft score; the place must still be learnt
    assert found.known[1, 0, 0] == pytest.approx(0.1)
    assert found.known[0, 11, 11] == 1


def test_categories_become_channels_in_the_engines_order() -> None:
    bits = np.stack([disc((96, 96), 20, 20, 12), disc((96, 96), 70, 70, 12)])
    instances = Instances.from_dense(bits, classes=np.array([7, 3], np.int32))
    found = assign([Target.labelled(instances)], 8, (96, 96), (3, 7))
    assert found.label[found.row < 5].tolist() == [1] * int((found.row < 5).sum())
    assert found.label[found.row >= 5].tolist() == [0] * int((found.row >= 5).sum())


# -- windows -------------------------------------------------------------------------------------


def block_mean(bits: Bits, cell: int) -> NDArray[np.float32]:
    h, w = bits.shape
    return bits.reshape(h // cell, cell, w // cell, cell).mean((1, 3)).astype(np.float32)


@pytest.mark.parametrize("stride", LEVELS)
@pytest.mark.parametrize("place", [(3, 3), (0, 0), (0, 7)])
def test_a_windows_target_is_the_mask_seen_from_its_location(
    stride: int, place: tuple[int, int]
) -> None:
    cell, side = stride // FINER, 8 * stride
    rng = np.random.default_rng(stride)
    bits = disc((side, side), 0.4 * side, 0.45 * side, 0.3 * side)
    bits |= rng.random((side, side)) < 0.01
    mask = Mask.from_bits(bits)
    assert mask is not None
    window = _window_target(mask, *place, stride)
    # Redrawn at its location, on the grid of the mask features.
    canvas = np.zeros((side // cell + 2 * WINDOW,) * 2, np.float32)
    top, left = (p * FINER + FINER // 2 - WINDOW // 2 + WINDOW for p in place)
    canvas[top : top + WINDOW, left : left + WINDOW] = window
    seen = canvas[WINDOW:-WINDOW, WINDOW:-WINDOW]
    truth = block_mean(bits, cell)
    y0, x0 = max(top - WINDOW, 0), max(left - WINDOW, 0)
    part = np.s_[y0:top, x0:left]  # what the window covers of the image
    assert np.array_equal(seen[part], truth[part])
    assert seen.sum() == truth[part].sum()


def test_the_part_of_a_window_outside_the_image_is_not_taught() -> None:
    found = assign([labelled(disc((64, 96), 4, 4, 6))], 8, (64, 96), (1,))
    inside = found.inside[0]
    row, column = int(found.row[0]), int(found.column[0])
    rows = np.arange(WINDOW) + 4 * row + 2 - 32
    columns = np.arange(WINDOW) + 4 * column + 2 - 32
    assert np.array_equal(inside.any(1), (rows >= 0) & (rows < 32))
    assert np.array_equal(inside.any(0), (columns >= 0) & (columns < 48))


def passing_on(scale: float = 1.0) -> Tensor:
    """Parameters of a tiny network that gives back mask feature 0 (from -10 up), times ``scale``."""
    first = torch.zeros(HIDDEN, MASK_CHANNELS + 2)
    second = torch.zeros(HIDDEN, HIDDEN)
    third = torch.zeros(1, HIDDEN)
    first[0, 0] = second[0, 0] = 1.0
    third[0, 0] = scale
    lift = torch.zeros(HIDDEN)
    lift[0] = 10.0
    parts = (first, lift, second, torch.zeros(HIDDEN), third, torch.tensor([-10.0 * scale]))
    out = torch.cat([p.flatten() for p in parts])
    assert out.shape == (DYNAMIC_PARAMETERS,)
    return out


def test_a_location_reads_the_mask_features_around_itself() -> None:
    features = torch.zeros(2, MASK_CHANNELS, 48, 80)
    features[1, 0] = torch.arange(48.0)[:, None] * 100 + torch.arange(80.0)
    row, column = torch.tensor([5, 11]), torch.tensor([9, 0])
    drawn = draw_masks(features, passing_on().repeat(2, 1), torch.tensor([1, 1]), row, column)
    for k in range(2):
        rows = torch.arange(WINDOW) + FINER * row[k] + FINER // 2 - WINDOW // 2
        columns = torch.arange(WINDOW) + FINER * column[k] + FINER // 2 - WINDOW // 2
        good = ((rows >= 0) & (rows < 48))[:, None] & ((columns >= 0) & (columns < 80))[None]
        expected = torch.where(good, rows[:, None] * 100.0 + columns[None], 0.0)
        assert torch.allclose(drawn[k], expected, atol=1e-2)


# -- decoding ------------------------------------------------------------------------------------


class Oracle(nn.Module):
    """A network that knows the answer: mask feature 0 is the mask, and its location scores highest."""

    def __init__(self, bits: Bits, stride: int, place: tuple[int, int]) -> None:
        super().__init__()
        self.bits, self.stride, self.place = bits, stride, place

    def controller(self, features: Tensor) -> Tensor:
        return passing_on().repeat(features.shape[0], 1)

    def forward(self, pixels: Tensor) -> tuple[dict[int, Tensor], ...]:
        h, w = pixels.shape[2:]
        scores = {s: torch.full((1, 1, h // s, w // s), -9.0) for s in LEVELS}
        scores[self.stride][0, 0, *self.place] = 4.0
        features = {s: torch.zeros(1, 16, h // s, w // s) for s in LEVELS}
        masks = {s: torch.zeros(1, MASK_CHANNELS, 4 * h // s, 4 * w // s) for s in LEVELS}
        behind = [(0, h - self.bits.shape[0]), (0, w - self.bits.shape[1])]
        padded = np.pad(self.bits, behind, mode="edge")  # what lies behind the border looks alike
        share = torch.from_numpy(block_mean(padded, self.stride // FINER))
        masks[self.stride][0, 0] = share * 12 - 6
        return scores, features, masks


@pytest.mark.parametrize(
    ("stride", "y", "x", "radius"),
    [
        (8, 40, 50, 15),
        (8, 6, 7, 13),  # cut by the upper left corner
        (8, 70, 96, 14),  # cut by the lower right corner
        (8, 38, 99, 10),
        (16, 40, 60, 30),
        (32, 40, 50, 60),  # larger than the image
    ],
)
def test_masks_land_on_their_pixels(stride: int, y: int, x: int, radius: int) -> None:
    shape = (75, 101)  # no multiples of 32
    bits = disc(shape, y, x, radius)
    place = (y // stride, x // stride)
    pixels = torch.zeros(1, 1, 96, 128)
    found = decode(Oracle(bits, stride, place), pixels, (5,), shape, 0.3, 0.6, 10)[0]  # type: ignore[arg-type]
    assert len(found) == 1
    assert found.shape == shape
    truth = Instances.from_dense(bits[None])
    assert float(found.iou(truth)[0, 0]) > 0.93
    rows, columns = np.nonzero(bits)
    assert found.masks[0].centroid == pytest.approx((rows.mean(), columns.mean()), abs=0.3)
    assert found.classes.tolist() == [5]
    assert 0.9 < float(found.scores[0]) <= 1


def test_nothing_scores_nothing_comes() -> None:
    bits = disc((64, 64), 32, 32, 10)
    found = decode(
        Oracle(bits, 8, (4, 4)), torch.zeros(1, 1, 64, 64), (1,), (64, 64), 0.999, 0.6, 9
    )  # type: ignore[arg-type]
    assert len(found[0]) == 0
    assert found[0].shape == (64, 64)


@pytest.mark.parametrize("shape", [(33, 65), (32, 32), (7, 5), (1, 40)])
def test_any_image_size_is_taken(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    engine = CompactSegmenter(width=16, frozen_blocks=0).eval()
    found = engine.segment(torch.randn(2, 1, *shape), 0.0)
    assert [f.shape for f in found] == [shape, shape]
    assert all(len(f) <= engine.max_instances for f in found)
    for f in found:
        assert (np.diff(f.scores) <= 0).all()  # best first


# -- learning ------------------------------------------------------------------------------------


def scene() -> tuple[Tensor, Target]:
    """Two discs of which each covers about half of the other, and a horseshoe, in brightfield."""
    shape = (64, 128)
    bits = (
        disc(shape, 32, 26, 17),
        disc(shape, 34, 42, 17),
        horseshoe(shape, 32, 96, 24),
    )
    light = np.ones(shape, np.float32)
    for b in bits:
        light[b] *= 0.6  # transmissions multiply
    light += np.random.default_rng(0).normal(0, 0.02, shape).astype(np.float32)
    pixels = (light - light.mean()) / (2.5 * light.std())
    return torch.from_numpy(pixels)[None, None], labelled(*bits)


def overfit(engine: CompactSegmenter, enough: Callable[[Instances], bool], steps: int) -> Instances:
    pixels, target = scene()
    optimiser = torch.optim.AdamW(engine.parameter_groups(4e-3, 0.0))
    for step in range(steps):
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(engine.losses(pixels, [target]).values())).sum().backward()
        nn.utils.clip_grad_norm_(engine.parameters(), 5.0)
        optimiser.step()
        if step % 20 == 19 and enough(found := engine.segment(pixels, 0.2)[0]):
            return found
    return engine.segment(pixels, 0.2)[0]


def test_organoids_that_overlap_or_bend_are_learnt_whole() -> None:
    torch.manual_seed(0)
    engine = CompactSegmenter(width=16, padding="symmetric", frozen_blocks=0)
    _, target = scene()

    def best(found: Instances) -> NDArray[np.float64]:
        return target.instances.iou(found).max(1, initial=0.0)

    found = overfit(engine, lambda found: bool((best(found) > 0.65).all()), 300)
    table = target.instances.iou(found)
    assert (best(found) > 0.6).all(), table
    assert len(set(table.argmax(1).tolist())) == 3  # three organoids, three masks
    overlap = found.intersection(found)
    a, b = table[:2].argmax(1)
    assert overlap[a, b] > 0.2 * found.areas[a]  # the overlap belongs to both
    opening = found.masks[int(table[2].argmax())]
    dense = np.zeros((64, 128), bool)
    y0, x0, y1, x1 = opening.box
    dense[y0:y1, x0:x1] = opening.bits
    assert not dense[32, 96]  # the horseshoe's hollow stays open


def test_masks_of_a_coarser_grid_are_refused() -> None:
    disc = Instances.from_masks((64, 64), [Mask.from_bits(np.ones((20, 20), bool), 4, 4)])
    target = replace(Target.labelled(disc), stride=4)
    with pytest.raises(DataError, match="grid of 4 px"):
        assign([target], 8, (64, 64), (1,))
