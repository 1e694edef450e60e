"""Labels of people cost what detectron2 says; pseudo-labels cost what their targets say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from organoseg.core import DataError, Instances, Mask, RunError
from organoseg.models.protocol import CappedResultWarning, Target
from tests.models.detectron2.networks import small

pytestmark = pytest.mark.detectron2
Labelled = tuple[torch.Tensor, list[Instances]]
#: Ours to detectron2's.
NAMES = {
    "proposal_score": "loss_rpn_cls",
    "proposal_box": "loss_rpn_loc",
    "score": "loss_cls",
    "box": "loss_box_reg",
    "mask": "loss_mask",
    "points": "loss_mask_point",
}
ALL = (
    "mask_rcnn_R_18_FPN",
    "mask_rcnn_R_50_DC5",
    "cascade_mask_rcnn_R_50_FPN",
    "pointrend_R_50_FPN",
)


def theirs(engine: Any, pixels: torch.Tensor, instances: list[Instances]) -> dict[str, float]:
    """The losses of detectron2's own forward pass of the same images."""
    from detectron2.structures import BitMasks
    from detectron2.structures import Instances as Theirs
    from detectron2.utils.events import EventStorage

    images = engine._images(pixels)
    network = engine.network
    truth = []
    for found in instances:
        masks = BitMasks(torch.from_numpy(found.to_dense()))
        boxes = masks.get_bounding_boxes()
        classes = torch.zeros(len(found), dtype=torch.int64)
        truth.append(Theirs(found.shape, gt_boxes=boxes, gt_classes=classes, gt_masks=masks))
    with EventStorage():
        features = network.backbone(images.tensor)
        proposals, first = network.proposal_generator(images, features, truth)
        _, second = network.roi_heads(images, features, proposals, truth)
    summed: dict[str, float] = {}
    for name, value in {**first, **second}.items():
        plain = name.partition("_stage")[0]
        summed[plain] = summed.get(plain, 0.0) + float(value)
    return summed


@pytest.mark.parametrize("architecture", ALL)
def test_labels_of_people_cost_what_detectron2_says(architecture: str, labelled: Labelled) -> None:
    if architecture.startswith("pointrend"):
        pytest.importorskip("cv2", reason="detectron2's PointRend needs OpenCV")
    pixels, instances = labelled
    engine = small(architecture, **({"anchors": (16, 32, 64)} if "DC5" in architecture else {}))
    engine.train()
    # Larger predictions than a fresh head's: else everything costs log 2.
    for name, p in engine.network.named_parameters():
        if "predictor" in name or "cls_score" in name:
            p.data.mul_(20)
    torch.manual_seed(5)
    ours = engine.losses(pixels, [Target.labelled(i) for i in instances])
    torch.manual_seed(5)
    expected = theirs(engine, pixels, instances)
    assert {NAMES[k] for k in ours} == set(expected)
    for name, value in ours.items():
        assert float(value) == pytest.approx(expected[NAMES[name]], rel=1e-4), name


def test_the_c4_network_costs_what_detectron2_says(labelled: Labelled) -> None:
    pixels, instances = labelled
    engine = small("mask_rcnn_R_50_C4", anchors=(16, 32, 64), regions_sampled=16)
    engine.train()
    torch.manual_seed(5)
    ours = engine.losses(pixels, [Target.labelled(i) for i in instances])
    torch.manual_seed(5)
    expected = theirs(engine, pixels, instances)
    for name, value in ours.items():
        assert float(value) == pytest.approx(expected[NAMES[name]], rel=1e-4), name


@pytest.fixture(scope="module")
def engine() -> Any:
    torch.manual_seed(0)
    return small().train()


def costs(engine: Any, pixels: torch.Tensor, targets: list[Target]) -> dict[str, float]:
    torch.manual_seed(5)
    return {k: float(v.detach()) for k, v in engine.losses(pixels, targets).items()}


def test_a_teachers_boxes_teach_no_position_unless_told_to(
    engine: Any, labelled: Labelled, targets: list[Target]
) -> None:
    pixels = labelled[0]
    people = costs(engine, pixels, targets)
    pseudo = [replace(t, pseudo=True) for t in targets]
    taught = costs(engine, pixels, pseudo)
    assert (taught["box"], taught["proposal_box"]) == (0, 0)
    assert taught["score"] == pytest.approx(people["score"])
    assert taught["mask"] == pytest.approx(people["mask"])
    told = small(pseudo_boxes=True).train()
    told.load_state_dict(engine.state_dict())
    assert costs(told, pixels, pseudo) == pytest.approx(people)
    doubtful = [replace(t, confidence=t.confidence * np.float32(0.3)) for t in pseudo]
    some = costs(told, pixels, doubtful)
    for name in ("box", "proposal_box"):
        assert some[name] == pytest.approx(0.3 * people[name], rel=1e-4)


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
def test_every_kind_of_box_loss_is_detectron2s(kind: str, engine: Any, labelled: Labelled) -> None:
    """Imported models may use any of them."""
    pixels, instances = labelled
    network = engine.network
    parts = network.proposal_generator, network.roi_heads.box_predictor
    before = [part.box_reg_loss_type for part in parts]
    try:
        for part in parts:
            part.box_reg_loss_type = kind
        ours = costs(engine, pixels, [Target.labelled(i) for i in instances])
        torch.manual_seed(5)
        expected = theirs(engine, pixels, instances)
    finally:
        for part, old in zip(parts, before, strict=True):
            part.box_reg_loss_type = old
    for name in ("box", "proposal_box"):
        assert ours[name] == pytest.approx(expected[NAMES[name]], rel=1e-4)


def test_a_masks_weight_scales_its_loss_and_no_other(
    engine: Any, labelled: Labelled, targets: list[Target]
) -> None:
    pixels = labelled[0]
    half = [replace(t, weights=t.weights / 2) for t in targets]
    before, after = costs(engine, pixels, targets), costs(engine, pixels, half)
    assert after["mask"] == pytest.approx(before["mask"] / 2)
    assert {k: v for k, v in after.items() if k != "mask"} == pytest.approx(
        {k: v for k, v in before.items() if k != "mask"}
    )


def test_doubt_is_a_soft_label(engine: Any, labelled: Labelled, targets: list[Target]) -> None:
    """The score that costs least is the certainty itself, for anchors and regions alike."""
    pixels = labelled[0]
    doubtful = [replace(t, confidence=t.confidence * np.float32(0.5)) for t in targets]
    nothing = [replace(t, confidence=t.confidence * 0) for t in targets]
    sure, half, none = (costs(engine, pixels, t) for t in (targets, doubtful, nothing))
    for name in ("score", "proposal_score"):
        assert half[name] == pytest.approx((sure[name] + none[name]) / 2, rel=1e-5)


def test_background_of_weight_nought_costs_nothing(engine: Any, labelled: Labelled) -> None:
    pixels = labelled[0]
    empty = [replace(Target.labelled(Instances.empty((128, 128))), background_weight=0.0)] * 2
    assert costs(engine, pixels, empty) == pytest.approx(
        dict.fromkeys(NAMES.keys() - {"points"}, 0.0)
    )


def test_an_image_without_an_organoid_teaches_background(engine: Any, labelled: Labelled) -> None:
    found = engine.losses(labelled[0], [Target.labelled(Instances.empty((128, 128)))] * 2)
    assert float(found["score"].detach()) > 0
    assert float(found["mask"].detach()) == 0
    engine.zero_grad()
    torch.stack(list(found.values())).sum().backward()
    left_out = [k for k, p in engine.named_parameters() if p.requires_grad and p.grad is None]
    assert left_out == []  # several processes wait for every gradient


def region(shape: tuple[int, int], y0: int, x0: int, y1: int, x1: int) -> Target:
    """Nobody looked in a rectangle."""
    mask = Mask(y0, x0, np.ones((y1 - y0, x1 - x0), bool))
    target = Target.labelled(Instances.from_masks(shape, [mask]))
    return replace(target, ignored=np.ones(1, bool))


def test_what_lies_in_an_ignored_region_is_neither_organoid_nor_background() -> None:
    from organoseg.models.detectron2.assign import neutral
    from organoseg.models.detectron2.targets import batch_targets

    target = region((64, 64), 0, 0, 64, 32)  # the left half
    batch = batch_targets([target], (1,), (64, 64), (128, 128), torch.device("cpu"), False)
    boxes = torch.tensor(
        [[4, 4, 40, 40], [70, 4, 120, 40], [50, 4, 80, 40], [40, 4, 80, 40], [0, 0, 64, 128]]
    ).float()  # on the network's grid, twice as fine
    aside = neutral(boxes, batch.images[0], batch, 0.5)
    assert aside is not None
    assert aside.tolist() == [True, False, False, True, True]


def test_an_ignored_region_silences_its_half_of_the_image(engine: Any, labelled: Labelled) -> None:
    """The loss does not see what is drawn there: no region of it is in the sums."""
    from organoseg.models.detectron2.assign import assign_anchors, assign_regions
    from organoseg.models.detectron2.targets import batch_targets

    shape = (128, 128)
    target = region(shape, 0, 0, 128, 64)
    batch = batch_targets([target], (1,), shape, shape, torch.device("cpu"), False)
    from detectron2.structures import Boxes

    x = torch.arange(0, 112, 4).float()
    grid = torch.stack(torch.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    boxes = torch.cat([grid, grid + 16], 1)
    found = assign_anchors(engine.network.proposal_generator, Boxes(boxes), batch)
    counted = boxes[found.sampled[0] >= 0]
    assert len(counted)
    assert (counted[:, [0, 2]].mean(1) > 64).all()
    heads = engine.network.roi_heads
    regions = assign_regions(heads, heads.proposal_matcher, [boxes], batch, draw=True)
    assert len(regions.label)
    assert (regions.all_boxes[:, [0, 2]].mean(1) > 64).all()


def test_an_organoid_inside_an_ignored_region_still_teaches(engine: Any) -> None:
    from organoseg.models.detectron2.assign import assign_regions
    from organoseg.models.detectron2.targets import batch_targets

    shape = (128, 128)
    masks = [Mask(0, 0, np.ones((128, 128), bool)), Mask(40, 40, np.ones((20, 20), bool))]
    target = replace(
        Target.labelled(Instances.from_masks(shape, masks)), ignored=np.array([True, False])
    )
    batch = batch_targets([target], (1,), shape, shape, torch.device("cpu"), False)
    heads = engine.network.roi_heads
    nothing = torch.zeros(0, 4)
    regions = assign_regions(heads, heads.proposal_matcher, [nothing], batch, draw=True)
    assert regions.label.tolist() == [0]
    assert regions.all_boxes.tolist() == [[40, 40, 60, 60]]


def test_enlarging_moves_boxes_and_masks_together(labelled: Labelled) -> None:
    from organoseg.models.detectron2.targets import batch_targets

    instances = labelled[1]
    cpu = torch.device("cpu")
    same = [Target.labelled(i) for i in instances]
    plain = batch_targets(same, (1,), (128, 128), (128, 128), cpu, False)
    twice = batch_targets(same, (1,), (128, 128), (256, 256), cpu, False)
    boxes = plain.images[0].boxes
    assert torch.equal(twice.images[0].boxes, boxes * 2)
    which = torch.arange(len(boxes))
    assert torch.equal(plain.crop(boxes, which, 14), twice.crop(boxes * 2, which, 14))


def test_masks_of_a_coarser_grid_are_taught_where_they_lie() -> None:
    from organoseg.models.detectron2.targets import batch_targets

    fine = Instances.from_masks((64, 64), [Mask(8, 16, np.ones((24, 32), bool))])
    coarse = Instances.from_masks((16, 16), [Mask(2, 4, np.ones((6, 8), bool))])
    cpu = torch.device("cpu")
    a = batch_targets([Target.labelled(fine)], (1,), (64, 64), (64, 64), cpu, False)
    quarter = replace(Target.labelled(coarse), stride=4)
    b = batch_targets([quarter], (1,), (64, 64), (64, 64), cpu, False)
    assert torch.equal(a.images[0].boxes, b.images[0].boxes)
    box = torch.tensor([[0.0, 0.0, 64.0, 64.0]])
    zero = torch.zeros(1, dtype=torch.int64)
    assert torch.equal(a.crop(box, zero, 16), b.crop(box, zero, 16))


# -- bad input -------------------------------------------------------------------------------------


def test_a_class_the_engine_does_not_know_is_named(engine: Any, labelled: Labelled) -> None:
    other = labelled[1][0].replace(classes=np.full(len(labelled[1][0]), 7))
    with pytest.raises(DataError, match="organoids of class 7, but the engine knows 1"):
        engine.losses(labelled[0][:1], [Target.labelled(other)])


def test_masks_of_another_size_are_refused(engine: Any, labelled: Labelled) -> None:
    with pytest.raises(DataError, match=r"masks of \(64, 64\).*needs \(128, 128\)"):
        engine.losses(labelled[0][:1], [Target.labelled(Instances.empty((64, 64)))])


def test_a_network_that_has_diverged_says_so(labelled: Labelled, targets: list[Target]) -> None:
    broken = small().train()
    broken.network.proposal_generator.rpn_head.anchor_deltas.bias.data.fill_(float("nan"))
    with pytest.raises(RunError, match="not finite: training has diverged"):
        broken.losses(labelled[0], targets)


def test_more_organoids_than_the_loss_takes_are_a_warning_with_numbers(labelled: Labelled) -> None:
    crowded = small(max_instances=2, regions_sampled=8).train()
    masks = [Mask(8 * k, 8 * k, np.ones((8, 8), bool)) for k in range(6)]
    target = Target.labelled(Instances.from_masks((128, 128), masks))
    with pytest.warns(CappedResultWarning, match=r"holds 6 organoids.*at most 2 .*returns 2"):
        crowded.losses(labelled[0][:1], [target])
