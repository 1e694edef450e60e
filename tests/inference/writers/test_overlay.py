"""Overlays: every number once, readable, by its organoid."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from organoseg.core import Instances, Mask
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.inference.writers import overlay as module
from organoseg.inference.writers.overlay import colours_of, overlay, thumbnail
from organoseg.inference.writers.placing import place
from tests.inference.writers.cases import apart, difficult, disc, result

SIZE = (18.0, 30.0)


def boxes_of(found: Instances, zoom: int = 4) -> list[tuple[float, float, float, float]]:
    high, wide = SIZE
    labels = place(found, zoom, [SIZE] * len(found))
    assert sorted(label.index for label in labels) == list(range(len(found)))
    return [(p.y - high / 2, p.x - wide / 2, p.y + high / 2, p.x + wide / 2) for p in labels]


@pytest.mark.parametrize("found", [apart(), difficult()])
def test_numbers_are_on_the_canvas_and_not_on_each_other(found: Instances) -> None:
    boxes = boxes_of(found)
    for n, (y0, x0, y1, x1) in enumerate(boxes):
        assert min(y0, x0) >= 0
        assert y1 <= found.shape[0] * 4
        assert x1 <= found.shape[1] * 4
        for other in boxes[:n]:
            high = min(y1, other[2]) - max(y0, other[0])
            wide = min(x1, other[3]) - max(x0, other[1])
            # Free places are found on a grid of 4 px.
            assert min(high, wide) <= 4


def test_500_numbers_hardly_touch_each_other() -> None:
    found = make_image(3, SyntheticSpec(size=1000, count=(500, 500), radius=(6, 24))).instances
    boxes = np.array(boxes_of(found))
    assert len(boxes) > 400
    high = np.minimum(boxes[:, None, 2], boxes[None, :, 2]) - np.maximum(
        boxes[:, None, 0], boxes[None, :, 0]
    )
    wide = np.minimum(boxes[:, None, 3], boxes[None, :, 3]) - np.maximum(
        boxes[:, None, 1], boxes[None, :, 1]
    )
    clash = np.triu((np.minimum(high, wide) > 6), 1)
    assert clash.sum() <= len(boxes) // 100


def test_a_number_is_in_its_organoid_or_has_a_line_to_it_or_is_beside_it() -> None:
    found = difficult()
    for label in place(found, 4, [SIZE] * len(found)):
        mask = found.masks[label.index]
        if label.target is not None:
            y, x = int(label.target[0] / 4) - mask.y, int(label.target[1] / 4) - mask.x
            assert mask.bits[y, x]
            continue
        y0, x0, y1, x1 = (4 * edge for edge in mask.box)
        away = max(y0 - label.y, label.y - y1, x0 - label.x, label.x - x1)
        assert away < 30


def test_the_outline_runs_along_the_organoid_and_the_rest_is_grey() -> None:
    found = Instances.from_masks((100, 100), [disc(30, 50, 50)])
    made = result(found, pixels=np.full((100, 100), 500, np.uint16))
    canvas = overlay(made)
    zoom = canvas.shape[0] // 100
    coloured = np.argwhere(np.ptp(canvas.astype(int), axis=2) > 30) / zoom
    far = np.hypot(*(coloured - 50.5).T)
    ring = far[far > 15]
    assert abs(ring - 30.5).max() < 1.5
    turns = np.arctan2(*(coloured[far > 15] - 50.5).T)
    assert len(np.unique(np.round(turns, 1))) >= 62  # all the way round


def test_neighbours_have_unlike_colours() -> None:
    masks = [Mask(20 * (n // 4), 20 * (n % 4), np.ones((18, 18), bool)) for n in range(16)]
    chosen = colours_of(Instances.from_masks((80, 80), masks))
    for n in range(16):
        for other in (n + 1 if n % 4 < 3 else n, n + 4):
            assert other == n or other >= 16 or chosen[n] != chosen[other]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((40, 50), np.uint8),
        np.full((40, 50), 65535, np.uint16),
        np.linspace(-1e30, 1e30, 2000, dtype=np.float32).reshape(40, 50),
        np.zeros((1, 1), np.uint8),
        np.zeros((1, 3000), np.uint16),
    ],
)
def test_any_picture_has_an_overlay_and_a_thumbnail(pixels: np.ndarray) -> None:
    for found in (
        Instances.empty(pixels.shape),
        Instances.from_masks(pixels.shape, [Mask(0, 0, np.ones((1, 1), bool))]),
    ):
        made = result(found, pixels=pixels)
        high, wide, depth = overlay(made).shape
        assert depth == 3
        assert high * pixels.shape[1] == wide * pixels.shape[0]
        with Pillow.open(io.BytesIO(thumbnail(made))) as small:
            small.load()
            assert max(small.size) <= 640


def test_a_large_picture_is_not_enlarged_and_its_thumbnail_is_small() -> None:
    found = Instances.from_masks((3000, 2600), [disc(3, 50, 50)])
    made = result(found)
    assert overlay(made).shape == (3000, 2600, 3)
    small = thumbnail(made)
    with Pillow.open(io.BytesIO(small)) as picture:
        assert picture.size == (555, 640)
    assert len(small) < 300_000


def test_far_too_many_organoids_still_give_an_overlay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that nobody could read are left out; every outline is there."""
    masks = [Mask(i // 60, i % 60, np.ones((1, 1), bool)) for i in range(3000)]
    drawn: list[int] = []
    original = module.place
    monkeypatch.setattr(module, "place", lambda *a: drawn.extend(original(*a)) or drawn)
    canvas = overlay(result(Instances.from_masks((50, 60), masks)))
    assert 0 < len(drawn) < 3000
    assert canvas.shape[0] >= 300
