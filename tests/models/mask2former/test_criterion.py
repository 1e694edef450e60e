"""The set criterion: equal to the library's where both apply, and to a slow one where only ours does."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from organoseg.core import DataError, Instances, RunError
from organoseg.models.mask2former import criterion, points
from organoseg.models.mask2former.criterion import LayerLosses, set_losses
from organoseg.models.mask2former.network import Predictions
from organoseg.models.mask2former.options import Mask2FormerOptions
from organoseg.models.mask2former.targets import divisors, pack_targets
from organoseg.models.protocol import CrowdedTargetWarning, Target
from tests.models.mask2former.small import batch, discs, engine

OPTIONS = Mask2FormerOptions(queries=9, hidden=32, points=128)
WHOLE = torch.ones(2)
SHAPE = (64, 96)


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The same points for every mask, layer and image, here and in the library."""
    every = torch.rand(4096, 2, generator=torch.Generator().manual_seed(7))
    monkeypatch.setattr(
        points, "uniform", lambda masks, count, device: every[:count].expand(masks, -1, -1)
    )
    monkeypatch.setattr(
        torch, "rand", lambda masks, count, two, **_: every[:count].repeat(masks, 1, 1)
    )
    return every


def _predictions(
    seed: int = 0, layers: int = 3, images: int = 3, classes: int = 2, queries: int = 9
) -> Predictions:
    g = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g).requires_grad_()

    h, w = SHAPE[0] // 4, SHAPE[1] // 4
    return Predictions(
        some(layers, images, queries, classes + 1),
        some(layers, images, queries, 32),
        some(images, 32, h, w),
    )


def _targets(*counts: int, classes: int = 2) -> list[Target]:
    made = [discs(n, i, SHAPE)[1] for i, n in enumerate(counts)]
    kinds = [m.replace(classes=np.arange(len(m), dtype=np.int32) % classes + 1) for m in made]
    return [Target.labelled(k) for k in kinds]


def _coarse(t: Target, stride: int) -> Target:
    small = t.instances.scale((SHAPE[0] // stride, SHAPE[1] // stride))
    return Target(small, t.weights, t.confidence, t.ignored, stride=stride)


def _ours(predictions: Predictions, targets: list[Target], **more: Any) -> LayerLosses:
    packed = pack_targets(targets, SHAPE, (1, 2), torch.device("cpu"))
    mine = torch.tensor(divisors(targets, OPTIONS.queries, OPTIONS.no_object_weight)).clamp(min=1)
    return set_losses(predictions, packed, OPTIONS, WHOLE, **{"divisors": mine} | more)


def _library(predictions: Predictions, targets: list[Target]) -> dict[str, Tensor]:
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

    config = Mask2FormerConfig(train_num_points=OPTIONS.points, num_labels=2)
    weights = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    loss = Mask2FormerLoss(config, weights)
    masks = [torch.from_numpy(t.instances.to_dense()).float() for t in targets]
    labels = [torch.from_numpy(t.instances.classes.astype(np.int64)) - 1 for t in targets]
    layers = [
        {
            "masks_queries_logits": predictions.masks(i),
            "class_queries_logits": predictions.classes[i],
        }
        for i in range(len(predictions.classes))
    ]
    last = layers.pop()
    terms = loss(**last, mask_labels=masks, class_labels=labels, auxiliary_predictions=layers)
    return {k: v * next(w for n, w in weights.items() if n in k) for k, v in terms.items()}


def _gradients(predictions: Predictions, total: Tensor) -> list[Tensor]:
    return list(
        torch.autograd.grad(
            total, (predictions.classes, predictions.embeddings, predictions.features)
        )
    )


@pytest.mark.parametrize(
    ("counts", "stride"), [((4, 0, 6), 1), ((1, 1, 1), 1), ((12, 3, 0), 1), ((4, 0, 6), 4)]
)
def test_certain_labels_cost_what_they_cost_in_the_library(
    fixed: Tensor, counts: tuple[int, ...], stride: int
) -> None:
    # (12, ...): more organoids than queries; both leave out the dearest. Stride 4: the paper's pseudo-masks.
    predictions, targets = _predictions(), _targets(*counts)
    if stride > 1:
        targets = [_coarse(t, stride) for t in targets]
    ours, theirs = _ours(predictions, targets), _library(predictions, targets)
    layers = len(ours.classes)
    for i in range(layers):
        end = "" if i == layers - 1 else f"_{i}"
        pairs = (
            (ours.classes[i], "loss_cross_entropy"),
            (ours.mask[i], "loss_mask"),
            (ours.dice[i], "loss_dice"),
        )
        for value, name in pairs:
            assert torch.allclose(value, theirs[name + end], atol=1e-5, rtol=1e-5)
    total = ours.classes.sum() + ours.mask.sum() + ours.dice.sum()
    mine = _gradients(predictions, total)
    reference = _gradients(predictions, torch.stack(list(theirs.values())).sum())
    for a, b in zip(mine, reference, strict=True):
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-4)


# -- a slow criterion that says in loops what ours says in tensors --------------------------------


def _at(maps: Tensor, where: Tensor) -> Tensor:
    grid = (2 * where - 1)[None, None].expand(len(maps), -1, -1, -1)
    return torch.nn.functional.grid_sample(maps[:, None], grid, align_corners=False)[:, 0, 0]


def _slow(
    p: Predictions, targets: list[Target], every: Tensor, options: Mask2FormerOptions
) -> tuple[float, float, float]:
    from scipy.optimize import linear_sum_assignment

    taught = max(sum(int((~t.ignored).sum()) for t in targets), 1)
    totals = np.zeros(3)
    few = every[: options.points]
    for layer in range(len(p.classes)):
        up, down = 0.0, 0.0
        for image, t in enumerate(targets):
            masks = p.masks(layer)[image].detach()
            log = p.classes[layer, image].detach().log_softmax(-1)
            truth = torch.from_numpy(t.instances.to_dense()).float()
            kinds = (t.instances.classes - 1).tolist()
            good = [i for i in range(len(truth)) if not t.ignored[i]]
            x = _at(masks, few).double()
            y = _at(truth, few).double() if len(truth) else torch.zeros(0, len(few))
            cost = np.zeros((options.queries, len(good)))
            for q, (j, i) in product(range(options.queries), enumerate(good)):
                bce = torch.nn.functional.binary_cross_entropy_with_logits(x[q], y[i])
                s = x[q].sigmoid()
                dice = 1 - (2 * (s * y[i]).sum() + 1) / (s.sum() + y[i].sum() + 1)
                cost[q, j] = 5 * bce + 5 * dice - 2 * log[q, kinds[i]].exp()
            matched = {int(q): good[j] for q, j in zip(*linear_sum_assignment(cost), strict=True)}
            for q in range(options.queries):
                none = options.no_object_weight
                if q in matched:
                    i, c = matched[q], float(t.confidence[matched[q]])
                    up -= c * float(log[q, kinds[i]]) + (1 - c) * none * float(log[q, -1])
                    down += c + (1 - c) * none
                    a, b = _slow_pair(masks[q], truth[i], every, options)
                    totals[1:] += float(t.weights[i]) * np.array([a, b]) / taught
                    continue
                drawn = x[q] > 0
                spared = False
                for i in np.flatnonzero(t.ignored):
                    both = float((drawn & (y[i] > 0.5)).sum())
                    sizes = float(drawn.sum()), float((y[i] > 0.5).sum())
                    spared |= both / max(sum(sizes) - both, 1) > 0.5
                    spared |= both / max(min(sizes), 1) > 0.7
                weight = none * t.background_weight
                up -= 0.0 if spared else weight * float(log[q, -1])
                down += weight
        totals[0] += up / max(down, 1e-6)
    return 2 * float(totals[0]), 5 * float(totals[1]), 5 * float(totals[2])


def _slow_pair(
    mask: Tensor, truth: Tensor, every: Tensor, options: Mask2FormerOptions
) -> tuple[float, float]:
    candidates = every[: int(3 * options.points)]
    chosen = int(0.75 * options.points)
    order = _at(mask[None], candidates)[0].abs().argsort()[:chosen]
    where = torch.cat((candidates[order], every[: options.points - chosen]))
    x, y = _at(mask[None], where)[0].double(), _at(truth[None], where)[0].double()
    s = x.sigmoid()
    bce = torch.nn.functional.binary_cross_entropy_with_logits(x, y)
    return float(bce), float(1 - (2 * (s * y).sum() + 1) / (s.sum() + y.sum() + 1))


def _doubtful(*counts: int) -> list[Target]:
    rng = np.random.default_rng(3)
    doubtful = []
    for t in _targets(*counts):
        n = len(t.instances)
        doubtful.append(
            Target(
                t.instances,
                rng.uniform(0, 2, n).astype(np.float32),
                rng.uniform(0, 1, n).astype(np.float32),
                rng.uniform(size=n) < 0.4,
                background_weight=float(rng.uniform(0.2, 1)),
            )
        )
    return doubtful


@pytest.mark.parametrize("seed", range(3))
def test_doubtful_and_ignored_organoids_cost_what_they_should(fixed: Tensor, seed: int) -> None:
    predictions, targets = _predictions(seed), _doubtful(5, 0, 7)
    assert any(t.ignored.any() for t in targets)
    ours = _ours(predictions, targets)
    slow = _slow(predictions, targets, fixed, OPTIONS)
    got = [float(v.detach().sum()) for v in (ours.classes, ours.mask, ours.dice)]
    assert got == pytest.approx(slow, abs=1e-4)


def test_a_query_on_an_ignored_organoid_costs_nothing(fixed: Tensor) -> None:
    target = _targets(1)[0]
    ignored = Target(target.instances, target.weights, target.confidence, np.ones(1, bool))
    truth = torch.from_numpy(target.instances.to_dense()).float()
    small = torch.nn.functional.avg_pool2d(truth[None], 4)[0]
    features = torch.cat((small * 20 - 10, torch.zeros(31, *small.shape[1:])))[None]
    embeddings = torch.zeros(1, 1, 9, 32)
    embeddings[0, 0, 4, 0] = 1  # this query draws the ignored organoid, the others nothing sure
    embeddings[0, 0, :4, 0] = -0.01
    classes = torch.zeros(1, 1, 9, 3, requires_grad=True)
    losses = _ours(Predictions(classes, embeddings, features), [ignored])
    losses.classes.sum().backward()
    assert classes.grad is not None
    moved = classes.grad[0, 0].abs().sum(1) > 0
    assert not moved[4]
    assert moved[:4].all()
    assert float(losses.mask.detach().sum()) == 0


@pytest.mark.parametrize("stride", [1, 4])
def test_points_read_what_grid_sample_reads(stride: int) -> None:
    shape = (60, 44)
    grid = (-(-shape[0] // stride), -(-shape[1] // stride))
    rng = np.random.default_rng(0)
    dense = rng.uniform(size=(5, *grid)) < 0.4
    dense[1, :, : grid[1] // 2] = False  # boxes at the image's sides and inside it
    dense[2, : grid[0] // 2] = False
    target = Target.labelled(Instances.from_dense(dense))
    target = Target(
        target.instances, target.weights, target.confidence, target.ignored, stride=stride
    )
    packed = pack_targets([target], shape, (1,), torch.device("cpu"))
    where = torch.rand(5, 500, 2) * 1.2 - 0.1  # also outside the image
    got = packed.sample(torch.arange(5), where)
    # In cells of the mask's own grid, which ends beyond an image that the stride does not divide.
    scaled = where * torch.tensor([shape[1] / grid[1] / stride, shape[0] / grid[0] / stride])
    expected = points.sample(torch.from_numpy(dense).float(), scaled)
    assert torch.allclose(got, expected, atol=1e-4)


def test_uncertain_points_lie_at_the_edge() -> None:
    x = torch.linspace(-20, 20, 64).expand(1, 64, 64)
    where = points.uncertain(x, 400, 3.0, 0.75, WHOLE)
    assert where.shape == (1, 400, 2)
    near = (where[0, :, 0] - 0.5).abs() < 0.15
    assert 0.75 <= near.float().mean() < 0.95


def test_points_stay_off_the_padding() -> None:
    extent = torch.tensor([0.5, 1.0])  # the right half is padding
    maps = torch.zeros(1, 32, 32)
    maps[:, :, 16:] = 1e-6
    where = points.uncertain(maps, 200, 3.0, 0.75, extent)
    assert float(where.max()) <= 1
    assert (points.sample(maps, where * extent) < 1e-6).all()


def test_groups_of_pairs_change_nothing(fixed: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, targets = _predictions(), _doubtful(5, 2, 7)
    whole = _ours(predictions, targets)
    monkeypatch.setattr(criterion, "POINTS_AT_ONCE", 7 * 3 * OPTIONS.points)
    parts = _ours(predictions, targets)
    for name in ("classes", "mask", "dice"):
        assert torch.allclose(getattr(whole, name), getattr(parts, name), atol=1e-5)


def test_checkpointing_changes_nothing(fixed: Tensor) -> None:
    gradients = []
    for on in (False, True):
        predictions, targets = _predictions(), _targets(4, 0, 6)
        terms = _ours(predictions, targets, checkpointing=on)
        gradients.append(
            _gradients(predictions, terms.mask.sum() + terms.dice.sum() + terms.classes.sum())
        )
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_two_halves_of_a_batch_cost_what_the_whole_costs(fixed: Tensor) -> None:
    # What several processes do: each divides by the mean over all.
    whole, targets = _predictions(images=4), _targets(4, 0, 6, 1)
    parts = (slice(0, 2), slice(2, 4))
    one, two = (torch.tensor(divisors(targets[p], 9, OPTIONS.no_object_weight)) for p in parts)
    halves = []
    for part in parts:
        p = Predictions(whole.classes[:, part], whole.embeddings[:, part], whole.features[part])
        halves.append(_ours(p, targets[part], divisors=(one + two) / 2))
    together = _ours(whole, targets)
    for name in ("classes", "mask", "dice"):
        average = torch.stack([getattr(h, name) for h in halves]).mean(0)
        assert torch.allclose(average, getattr(together, name), atol=1e-5)


# -- bad input ------------------------------------------------------------------------------------


def test_images_without_organoids_teach_the_background() -> None:
    module = engine()
    pixels, targets = batch(0, 0)
    losses = module.losses(pixels, targets)
    assert float(losses["mask"].detach()) == 0
    assert float(losses["class"].detach()) > 0
    torch.stack(list(losses.values())).sum().backward()
    without = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_more_organoids_than_queries_are_named(fixed: Tensor) -> None:
    module = engine(queries=3)
    pixels, targets = batch(5, 2)
    with pytest.warns(
        CrowdedTargetWarning, match="5 organoids.* 3 queries: 2 organoids in 1 images"
    ):
        module.losses(pixels, targets)
    with pytest.warns(CrowdedTargetWarning, match="4 organoids in 2 images"):
        module.losses(pixels, targets)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.losses(pixels, targets)  # said again when their number has doubled
    with pytest.warns(CrowdedTargetWarning, match="8 organoids in 4 images"):
        module.losses(pixels, targets)


def test_masks_of_another_size_than_the_image_are_refused() -> None:
    pixels, targets = batch(2, 2)
    other = batch(2, shape=(64, 96))[1][0]
    with pytest.raises(DataError, match="image 2 of a batch are 64 x 96, its pixels need 64 x 64"):
        engine().losses(pixels, [targets[0], other])


def test_an_unknown_class_is_refused() -> None:
    pixels, (target,) = batch(2)
    strange = Target.labelled(target.instances.replace(classes=np.array([1, 7], np.int32)))
    with pytest.raises(DataError, match="class 7"):
        engine().losses(pixels, [strange])


def test_slivers_of_cropped_organoids_are_ignored() -> None:
    dense = np.zeros((2, *SHAPE), bool)
    dense[0, 20:40, 20:40] = True
    dense[1, 0, :7] = True  # what a crop left: 7 px
    target = Target.labelled(Instances.from_dense(dense))
    packed = pack_targets([target], SHAPE, (1, 2), torch.device("cpu"))
    assert packed.ignored.tolist() == [False, True]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_predictions_that_are_not_finite_stop_the_run(bad: float) -> None:
    predictions = _predictions()
    broken = predictions.embeddings.detach().clone()
    broken[1, 0, 3, 0] = bad
    with pytest.raises(RunError, match="no longer finite"):
        _ours(Predictions(predictions.classes, broken, predictions.features), _targets(2, 2, 2))


def test_half_precision_matches_and_costs_in_single(fixed: Tensor) -> None:
    exact, targets = _predictions(), _targets(4, 0, 6)
    rounded = Predictions(*(t.bfloat16() for t in vars(exact).values()))
    again = Predictions(*(t.float() for t in vars(rounded).values()))
    with torch.autocast("cpu", torch.bfloat16):
        half = _ours(rounded, targets)
    single = _ours(again, targets)
    assert half.mask.dtype == torch.float32
    # Only the product of embedding and features was made in half precision.
    assert torch.allclose(half.classes, single.classes, rtol=1e-4)
    assert torch.allclose(half.mask, single.mask, rtol=0.02)
