"""Features that vary as their class does: by hand, by a naive loop, by drawing them, and in the compact engine."""

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from organoseg.distill.feature_augmentation import (
    FeatureAugmentation,
    FeatureStatistics,
    ramp,
    sigmoid_spread,
    softmax_shift,
)
from organoseg.models.compact.loss import quality_focal
from organoseg.models.registry import build_engine
from tests.distill.test_descent import branches


def test_the_shift_by_hand() -> None:
    """Two features, three classes: .5 * ratio * sum (w_j - w_y)^2 var_y."""
    weights = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
    variances = torch.tensor([[4.0, 1.0], [0.0, 0.0], [1.0, 0.5]])
    shift = softmax_shift(weights, variances, 1.5)
    # Of class 0: to 1: 1 * 4 + 4 * 1 = 8; to 2: 4 * 4 + 1 * 1 = 17. Of class 2: to 0: 4 + .5; to 1: 1 + .5.
    assert shift.tolist() == [[0, 6.0, 12.75], [0, 0, 0], [3.375, 1.125, 0]]
    spread = sigmoid_spread(weights, variances, 1.5)
    assert spread.tolist() == [[3.0, 3.0, 3.75], [0, 0, 0], [0.75, 1.5, 1.125]]


def test_the_shift_by_a_naive_loop() -> None:
    rng = np.random.default_rng(0)
    w, v = rng.standard_normal((4, 7)), rng.uniform(0, 2, (4, 7))
    expected = np.zeros((4, 4))
    for y, j, d in itertools.product(range(4), range(4), range(7)):
        expected[y, j] += 0.5 * 0.8 * (w[j, d] - w[y, d]) ** 2 * v[y, d]
    assert softmax_shift(torch.tensor(w), torch.tensor(v), 0.8).numpy() == pytest.approx(expected)


def test_a_sigmoid_is_the_softmax_of_two_classes() -> None:
    w, v = torch.randn(1, 5), torch.rand(2, 5)
    both = softmax_shift(torch.cat([w, torch.zeros_like(w)]), v, 1.5)
    spread = sigmoid_spread(w, v, 1.5)
    # Row 0: the class itself, whose rival rises; row 1: nothing, where the class rises.
    assert torch.allclose(both, torch.tensor([[0, spread[0, 0]], [spread[1, 0], 0]]), atol=1e-6)


def test_no_gradient_goes_through_weights_and_variances() -> None:
    w = torch.randn(2, 5, requires_grad=True)
    assert not softmax_shift(w, torch.rand(2, 5), 1).requires_grad
    assert not sigmoid_spread(w, torch.rand(3, 5), 1).requires_grad


@pytest.mark.parametrize("quality", [1.0, 0.0, 0.3])
def test_the_loss_bounds_that_of_features_drawn_as_they_vary(quality: float) -> None:
    """The bound is above the mean over many drawn features, near it, and not the plain loss."""
    draw = torch.Generator().manual_seed(0)
    weight, feature = torch.tensor([0.5, -1.0, 0.25]), torch.tensor([0.4, 0.3, 2.0])
    variance, ratio = torch.tensor([[0.4, 0.2, 1.0]]), 1.5
    drawn = feature + torch.randn(200_000, 3, generator=draw) * (ratio * variance).sqrt()
    q = torch.full((200_000,), quality)
    mean = float(F.binary_cross_entropy_with_logits(drawn @ weight, q))
    logit = (feature @ weight)[None]
    spread = sigmoid_spread(weight[None], variance, ratio)[0]
    distance = float((quality - logit.sigmoid()).square())
    bound = float(quality_focal(logit, q[:1], spread)) / distance
    plain = float(quality_focal(logit, q[:1])) / distance
    assert plain < mean < bound < mean + 0.2
    assert float(quality_focal(logit, q[:1], spread * 0)) == pytest.approx(plain * distance)


def naive_statistics(features: Any, classes: Any, count: int) -> tuple[Any, Any]:
    means, variances = [], []
    for c in range(count):
        mine = [f for f, k in zip(features, classes, strict=True) if k == c]
        means.append(np.mean(mine, axis=0) if mine else np.zeros(features.shape[1]))
        variances.append(np.var(mine, axis=0) if mine else np.zeros(features.shape[1]))
    return np.stack(means), np.stack(variances)


def test_running_statistics_are_those_of_all_that_was_seen() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(3, 2, (300, 4)).astype(np.float32)
    classes = rng.integers(0, 2, 300)  # the third class never comes
    known = FeatureStatistics(3, 4)
    for step in np.array_split(np.arange(300), 7):
        for part in np.array_split(step, 3):
            known.see(torch.from_numpy(features[part]), torch.from_numpy(classes[part]))
        before = known.variance.clone()
        known.commit()
        assert not torch.equal(before, known.variance)
    mean, variance = naive_statistics(features.astype(np.float64), classes, 3)
    assert known.mean.numpy() == pytest.approx(mean, rel=1e-5)
    assert known.variance.numpy() == pytest.approx(variance, rel=1e-4)
    assert known.count.tolist() == [*np.bincount(classes), 0]


def test_what_a_step_sees_counts_from_the_next_step_on() -> None:
    known = FeatureStatistics(2, 1)
    spread = FeatureAugmentation(known, 1.0)
    spread.see(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 0]))
    assert float(spread.of(torch.ones(1, 1)).sum()) == 0
    known.commit()
    assert spread.of(torch.ones(1, 1)).tolist() == [[0.5], [0.0]]
    known.commit()  # nothing new: nothing changes
    assert known.count.tolist() == [2, 0]


def test_two_processes_have_the_statistics_of_one() -> None:
    values, kinds = torch.randn(8, 3), torch.tensor([0, 1] * 4)
    whole, first, second = (FeatureStatistics(2, 3) for _ in range(3))
    whole.see(values, kinds)
    first.see(values[:5], kinds[:5])
    second.see(values[5:], kinds[5:])
    other = second.new.clone()
    whole.commit()
    first.commit(lambda mine: mine + other)
    assert torch.allclose(first.variance, whole.variance)


def test_statistics_survive_a_checkpoint() -> None:
    known = FeatureStatistics(2, 3)
    known.see(torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 0]))
    again = FeatureStatistics(2, 3)
    again.load_state_dict(known.state_dict())
    known.commit()
    again.commit()
    assert torch.equal(known.variance, again.variance)


def test_the_ramp_is_half_a_cosine() -> None:
    assert [ramp(k, 5, 1.5) for k in range(5)] == pytest.approx(
        [0, 0.75 * (1 - math.sqrt(0.5)), 0.75, 0.75 * (1 + math.sqrt(0.5)), 1.5]
    )
    assert ramp(9, 5, 1.5) == 1.5
    assert ramp(0, 1, 1.5) == 0


def compact() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_engine("compact", (1,), {"width": 16}, None).train()


def test_compact_says_what_it_sees_and_trains_as_if_it_varied() -> None:
    torch.set_num_threads(1)
    engine, branch = compact(), branches()[0]
    plain = engine.losses(branch.pixels, branch.targets)
    known = FeatureStatistics(*engine.spread_over)
    engine.spread = FeatureAugmentation(known, 1.5)
    first = engine.losses(branch.pixels, branch.targets)
    assert all(torch.equal(first[k], plain[k]) for k in plain)
    known.commit()
    organoids, nothing = known.count.tolist()
    assert organoids >= 8
    assert nothing > organoids
    with torch.no_grad():  # a look that teaches nothing is not counted
        second = engine.losses(branch.pixels, branch.targets)
    assert float(known.new.abs().sum()) == 0
    assert second["score"] > plain["score"]
    assert second["dice"].item() == plain["dice"].item()
    engine.spread.ratio = 0.0
    third = engine.losses(branch.pixels, branch.targets)
    assert third["score"].item() == pytest.approx(plain["score"].item(), rel=1e-5)


def test_a_copy_of_an_engine_has_its_own_and_no_more_tensors() -> None:
    """The spread is no part of the engine's weights, and follows where a pair is copied as a whole."""
    engine = compact()
    names = set(engine.state_dict())
    known = FeatureStatistics(*engine.spread_over)
    engine.spread = FeatureAugmentation(known, 1.5)
    assert set(engine.state_dict()) == names
    both = copy.deepcopy(torch.nn.ModuleDict({"engine": engine, "known": known}))
    assert both["engine"].spread.statistics is both["known"]
    assert both["known"] is not known
