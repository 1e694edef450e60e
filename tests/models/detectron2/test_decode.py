"""Where masks land, that overlaps stay whole, and what is dropped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from organoseg.core import Instances
from tests.models.detectron2.networks import small

pytestmark = pytest.mark.detectron2


@given(
    st.integers(0, 2**31 - 1),
    st.tuples(st.floats(-1, 60), st.floats(-1, 60), st.floats(2, 60), st.floats(2, 60)),
    st.sampled_from([14, 28]),
)
@settings(deadline=None, max_examples=60)
def test_a_mask_lands_where_detectron2_pastes_it(
    seed: int, place: tuple[float, float, float, float], side: int
) -> None:
    from detectron2.layers import paste_masks_in_image

    from organoseg.models.detectron2.decode import draw

    rng = np.random.default_rng(seed)
    probability = rng.random((side, side)).astype(np.float32)
    x, y, width, height = np.float32(place).tolist()
    box = np.array([x, y, x + width, y + height])
    whole = paste_masks_in_image(
        torch.from_numpy(probability)[None], torch.from_numpy(box).float()[None], (64, 72), -1
    )[0]
    # Values a hair's breadth from a half may fall on either side.
    sure = (whole.float() / 255 - 0.5).abs() > 0.01
    mask = draw(probability, box, (64, 72))
    ours = Instances.from_masks((64, 72), [mask] if mask else []).to_dense().any(0)
    if mask is not None:
        assert np.array_equal(ours[sure.numpy()], (whole > 127).numpy()[sure.numpy()])
    else:
        assert int(((whole > 127) & sure).sum()) < 16


def found(boxes: list[list[float]], scores: list[float], kinds: list[int] | None = None) -> Any:
    """Detections whose masks fill their boxes, sure to .9."""
    from detectron2.structures import Boxes
    from detectron2.structures import Instances as Theirs

    n = len(boxes)
    masks = torch.full((n, 1, 28, 28), 0.9)
    return Theirs(
        (100, 100),
        pred_boxes=Boxes(torch.tensor(boxes).float().reshape(-1, 4)),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(kinds or [0] * n, dtype=torch.int64),
        pred_masks=masks,
    )


def decoded(*images: Any, **changes: Any) -> list[Instances]:
    from organoseg.models.detectron2.decode import decode

    settings = {"threshold": 0.1, "mask_nms": 0.6, "mask_score": False, "most": 100} | changes
    return decode(images, (1, 5), (100, 100), (100, 100), **settings)


def test_masks_that_overlap_stay_whole() -> None:
    (both,) = decoded(found([[10, 10, 50, 50], [30, 10, 70, 50]], [0.9, 0.8]))
    assert both.areas.tolist() == [1600, 1600]
    assert both.intersection(both)[0, 1] == 800


def test_the_same_organoid_twice_is_one_and_the_better_stays() -> None:
    (one,) = decoded(found([[10, 10, 50, 50], [12, 10, 52, 50]], [0.7, 0.9]))
    assert one.scores.tolist() == pytest.approx([0.9])
    assert one.boxes.tolist() == [[10, 12, 50, 52]]


def test_two_classes_at_one_place_are_two() -> None:
    (two,) = decoded(found([[10, 10, 50, 50], [12, 10, 52, 50]], [0.7, 0.9], [0, 1]))
    assert two.classes.tolist() == [5, 1]


def test_mask_nms_can_be_left_to_the_boxes() -> None:
    (two,) = decoded(found([[10, 10, 50, 50], [12, 10, 52, 50]], [0.7, 0.9]), mask_nms=None)
    assert len(two) == 2


def test_the_score_may_count_how_sure_the_mask_is() -> None:
    (one,) = decoded(found([[10, 10, 50, 50]], [0.8]), mask_score=True)
    assert one.scores.tolist() == pytest.approx([0.72])
    assert len(decoded(found([[10, 10, 50, 50]], [0.8]), mask_score=True, threshold=0.75)[0]) == 0


def test_specks_thresholds_limits_and_empty_images() -> None:
    boxes = [[10, 10, 12, 12], [10, 10, 50, 50], [60, 60, 90, 90], [-30, -30, -5, -5]]
    first, second = decoded(found(boxes, [0.9, 0.05, 0.6, 0.9]), found([], []))
    assert first.boxes.tolist() == [[60, 60, 90, 90]]
    assert len(second) == 0
    (few,) = decoded(found([[0, 0, 20, 20], [40, 40, 60, 60]], [0.5, 0.6]), most=1)
    assert few.scores.tolist() == pytest.approx([0.6])


def test_an_image_in_which_nothing_is_proposed_gives_nothing() -> None:
    engine = small().eval()
    # Every proposal is pushed together until no box is left.
    engine.network.proposal_generator.min_box_size = 1e6
    (nothing,) = engine.segment(torch.randn(1, 1, 96, 96), 0.0)
    assert len(nothing) == 0
    assert nothing.shape == (96, 96)


@pytest.mark.parametrize("shape", [(96, 96), (50, 131), (33, 17)])
def test_images_of_any_size_keep_it(shape: tuple[int, int]) -> None:
    engine = small(max_instances=7).eval()
    seen = engine.segment(torch.randn(2, 1, *shape), 0.0)
    assert [s.shape for s in seen] == [shape, shape]
    assert max(map(len, seen)) <= 7


def test_segmenting_draws_no_random_number_and_keeps_the_mode() -> None:
    engine = small().train()
    pixels = torch.randn(1, 1, 64, 64)
    state = torch.get_rng_state()
    first = engine.segment(pixels, 0.0)[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert engine.training
    assert engine.network.training
    again = engine.segment(pixels, 0.0)[0]
    assert np.array_equal(first.scores, again.scores)


def test_what_is_seen_enlarged_comes_back_at_the_images_size() -> None:
    engine = small(upscale=2.0)
    assert engine.seen_size(50, 60) == (100, 120)
    engine = small(short_side=200, long_side=300)
    assert engine.seen_size(50, 60) == (200, 240)
    assert engine.seen_size(50, 100) == (150, 300)
    assert engine.segment(torch.randn(1, 1, 50, 60), 0.0)[0].shape == (50, 60)


@pytest.mark.parametrize("learning", [False, True])
@pytest.mark.parametrize(
    "architecture", ["mask_rcnn_R_18_FPN", "cascade_mask_rcnn_R_50_FPN", "mask_rcnn_R_50_C4"]
)
def test_in_bfloat16_regions_are_cut_out_where_they_lie(
    monkeypatch: pytest.MonkeyPatch, architecture: str, learning: bool
) -> None:
    """Places rounded to bfloat16 are multiples of half a pixel from 64 px on, and of two from 256 px on."""
    import importlib

    from organoseg.models.protocol import Target

    roi_align = importlib.import_module("detectron2.layers.roi_align")
    cut = []
    plain = roi_align.roi_align

    def remember(maps: torch.Tensor, places: torch.Tensor, *rest: Any) -> torch.Tensor:
        cut.append(places.detach()[:, 1:].float())
        return plain(maps, places, *rest)  # type: ignore[no-any-return]

    monkeypatch.setattr(roi_align, "roi_align", remember)
    anchors = {"anchors": (16, 32, 64)} if architecture.endswith("C4") else {}
    engine = small(architecture, proposals=20, regions_sampled=8, **anchors)
    pixels = torch.rand(1, 1, 96, 320) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        if learning:
            engine.losses(pixels, [Target.labelled(Instances.empty((96, 320)))])
        else:
            engine.segment(pixels, 0.0)
    places = torch.cat(cut)
    inside = places[(places > 64) & (places < 319)]
    assert len(inside) > 5
    assert not torch.equal(inside, inside.bfloat16().float())


@pytest.mark.parametrize("architecture", ["mask_rcnn_R_18_FPN", "pointrend_R_50_FPN"])
def test_in_bfloat16_a_cell_below_a_half_is_not_drawn(architecture: str) -> None:
    """A probability of .4996 is a half in bfloat16: whole boxes would be organoids."""
    if architecture.startswith("pointrend"):
        pytest.importorskip("cv2", reason="detectron2's PointRend needs OpenCV")
    engine = small(architecture, proposals=10).eval()
    for name, p in engine.network.roi_heads.mask_head.named_parameters():
        if "predict" in name:
            p.data.fill_(-0.0015 if name.endswith("bias") else 0.0)
    pixels = torch.rand(1, 1, 64, 64) * 2 - 1
    assert len(engine.segment(pixels, 0.0)[0]) == 0
    with torch.autocast("cpu", torch.bfloat16):
        assert len(engine.segment(pixels, 0.0)[0]) == 0


def test_a_fresh_network_can_call_a_cell_background_as_well_as_organoid() -> None:
    engine = small().eval()
    seen = []
    layer = engine.network.roi_heads.mask_head.predictor
    layer.register_forward_hook(lambda module, given, logits: seen.append(logits))
    engine.segment(torch.rand(1, 1, 96, 96) * 2 - 1, 0.0)
    logits = torch.cat(seen)
    assert 0.1 < float(logits.std()) < 10  # detectron2's own begins at about .001
    assert 0.05 < float((logits > 0).float().mean()) < 0.95
