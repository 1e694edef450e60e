"""Two engines that train as one: names, groups, copies, and what both see."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from organoseg.core import Instances, Mask, UsageError
from organoseg.distill.feature_augmentation import FeatureAugmentation, FeatureStatistics
from organoseg.distill.weights import average_weights, copy_weights
from organoseg.models.pair import Pair, other, pair_of
from organoseg.models.protocol import Segmenter, capacity_of, capacity_option
from organoseg.models.registry import build_engine
from tests.distill.fakes import FakeEngine


def compact(width: int = 16) -> Any:
    return build_engine("compact", (1,), {"width": width, "max_instances": width}, None)


def test_a_pair_is_an_engine_whose_tensors_are_those_of_both() -> None:
    pair = Pair(compact(16), compact(32))
    assert isinstance(pair, Segmenter)
    names = set(pair.state_dict())
    assert names == {f"members.{n}.{k}" for n in "ab" for k in pair[n].state_dict()}
    groups = pair.parameter_groups(1e-3, 0.05)
    trained = sum(p.numel() for p in pair.parameters() if p.requires_grad)
    assert sum(p.numel() for g in groups for p in g["params"]) == trained
    assert {g["lr"] for g in groups} == {1e-3, 0.3e-3}
    assert pair.max_instances == capacity_of(pair, (64, 64)) == 16
    assert capacity_option(pair) == "max_instances"
    assert (pair.stride, other("a"), other("b")) == (32, "b", "a")
    assert pair.other("a") is pair["b"]


def test_averages_and_copies_keep_the_two_apart() -> None:
    student = Pair(FakeEngine("a", [], 1.0), FakeEngine("b", [], 2.0))
    teacher = Pair(FakeEngine("a", [], 3.0), FakeEngine("b", [], 4.0))
    average_weights(teacher, student, 0.5)
    assert teacher["a"].weight.tolist() == [2, 4]
    assert teacher["b"].weight.tolist() == [3, 6]
    copy_weights(teacher, student)
    assert teacher["b"].weight.tolist() == [2, 4]


def test_it_says_what_both_see_and_half_of_what_one_sees() -> None:
    square = [Mask(y, 2, np.ones((8, 8), bool)) for y in (2, 20)]
    both = Instances.from_masks((32, 32), square, scores=[0.8, 0.7])
    pair = Pair(FakeEngine("a", []), FakeEngine("b", []))
    pair["a"].found = lambda: both
    pair["b"].found = lambda: both.select([0]).replace(scores=np.array([0.6], np.float32))
    (seen,) = pair.segment(torch.zeros(1, 1, 32, 32))
    assert seen.scores.tolist() == pytest.approx([0.7, 0.35])
    (sure,) = pair.segment(torch.zeros(1, 1, 32, 32), 0.5)
    assert sure.scores.tolist() == pytest.approx([0.7])


def test_what_is_given_to_the_pair_trains_both() -> None:
    pair = Pair(FakeEngine("a", [], 1.0), FakeEngine("b", [], 2.0))
    terms = pair.losses(torch.zeros(1, 1, 32, 32), [])
    assert {k: float(v.detach()) for k, v in terms.items()} == {
        "a.a": 4, "a.b": 4, "b.a": 5, "b.b": 8,
    }  # fmt: skip


def test_what_is_kept_beside_a_member_travels_with_the_pair_and_not_with_the_member() -> None:
    pair = Pair(compact(), compact())
    before = set(pair["a"].state_dict())
    for name in "ab":
        known = FeatureStatistics(*pair[name].spread_over)
        pair.vary({name: (known, FeatureAugmentation(known))})
    assert set(pair["a"].state_dict()) == before
    assert "kept.a.variance" in pair.state_dict()
    again = copy.deepcopy(pair)
    assert again["b"].spread.statistics is again.kept["b"]
    assert again.kept["b"] is not pair.kept["b"]


def test_what_is_no_pair_is_refused() -> None:
    one, two = FakeEngine("a", []), FakeEngine("b", [])
    two.classes = (1, 2)
    with pytest.raises(UsageError, match="different classes"):
        Pair(one, two)
    with pytest.raises(TypeError, match="no pair"):
        pair_of(one)
    with pytest.raises(UsageError, match="cannot compute its activations twice"):
        Pair(one, compact()).gradient_checkpointing = True


def test_it_answers_for_the_one_with_fewer_queries() -> None:
    pair = Pair(compact(), FakeEngine("b", []))
    assert pair.options == {}
    pair["b"].options = {"queries": 50}
    assert pair.options == {"queries": 50}
