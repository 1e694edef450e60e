"""The imitation losses against answers by hand, against plain loops, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from organoseg.core import UsageError
from organoseg.models.imitation import Imitation, consistency, first_order, zero_order


def naive_consistency(p: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """c(p) of one map, place by place."""
    found = np.zeros(p.shape)
    for i, j in np.argwhere(valid):
        distances = [
            abs(p[i, j] - p[y, x])
            for y in range(max(i - 1, 0), min(i + 2, p.shape[0]))
            for x in range(max(j - 1, 0), min(j + 2, p.shape[1]))
            if (y, x) != (i, j) and valid[y, x]
        ]
        found[i, j] = np.mean(distances) if distances else 0.0
    return found


def all_valid(p: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(p, dtype=torch.bool)


def test_consistency_of_one_bright_place() -> None:
    p = torch.zeros(1, 3, 3)
    p[0, 1, 1] = 1.0
    found = consistency(p, all_valid(p))[0]
    assert found[1, 1] == 1.0  # all eight neighbours differ by one
    assert found[0, 0] == pytest.approx(1 / 3)  # one of a corner's three
    assert found[0, 1] == pytest.approx(1 / 5)  # one of a side's five


def test_neighbours_that_do_not_count_are_left_out() -> None:
    p = torch.tensor([[[0.0, 1.0, 0.0]]])
    valid = torch.tensor([[[True, True, False]]])
    assert consistency(p, valid).tolist() == [[[1.0, 1.0, 0.0]]]
    alone = torch.tensor([[[False, True, False]]])
    assert consistency(p, alone).tolist() == [[[0.0, 0.0, 0.0]]]


def test_losses_by_hand() -> None:
    student = torch.tensor([[[0.0, 0.5]], [[0.25, 0.25]]])
    teacher = torch.tensor([[[0.0, 1.0]], [[0.75, 0.75]]])
    # L_p: (0 + .25) / 2, and .25 everywhere. L_c: maps .5 and 1 at both places; both flat.
    assert zero_order(student, teacher, all_valid(student)).tolist() == [0.125, 0.25]
    assert first_order(student, teacher, all_valid(student)).tolist() == [0.25, 0.0]
    nowhere = torch.zeros_like(student, dtype=torch.bool)
    assert zero_order(student, teacher, nowhere).tolist() == [0.0, 0.0]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 7))
def test_against_plain_loops(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    s, t = rng.random((2, 3, height, width))
    valid = rng.random((3, height, width)) < 0.7
    tensors = torch.from_numpy(s), torch.from_numpy(t), torch.from_numpy(valid)
    for k in range(3):
        count = max(valid[k].sum(), 1)
        maps = naive_consistency(s[k], valid[k]), naive_consistency(t[k], valid[k])
        np.testing.assert_allclose(consistency(tensors[0], tensors[2])[k], maps[0], atol=1e-12)
        zero = ((t[k] - s[k]) ** 2)[valid[k]].sum() / count
        assert zero_order(*tensors)[k].item() == pytest.approx(zero)
        first = ((maps[1] - maps[0]) ** 2)[valid[k]].sum() / count
        assert first_order(*tensors)[k].item() == pytest.approx(first)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(3)
    teacher, logits = torch.randn(2, 2, 5, 6, generator=generator, dtype=torch.float64)
    valid = torch.rand(2, 5, 6, generator=generator) < 0.8
    for loss in (zero_order, first_order):
        assert torch.autograd.gradcheck(
            lambda x, loss=loss: loss(x.sigmoid(), teacher.sigmoid(), valid),
            logits.clone().requires_grad_(),
        )


def test_places_outside_do_not_teach() -> None:
    student = torch.rand(1, 6, 6, requires_grad=True)
    valid = torch.zeros(1, 6, 6, dtype=torch.bool)
    valid[:, 1:4, 1:4] = True
    teacher = torch.rand(1, 6, 6)
    (zero_order(student, teacher, valid) + first_order(student, teacher, valid)).sum().backward()
    assert student.grad is not None
    assert not student.grad[~valid].any()
    assert student.grad[valid].any()


@pytest.mark.parametrize("weights", [(-1.0, 1.0), (1.0, float("nan")), (float("inf"), 0.0)])
def test_weights_that_make_no_sense(weights: tuple[float, float]) -> None:
    with pytest.raises(UsageError):
        Imitation(*weights)
