"""What an engine learnt without classes goes into one with classes: all of it, or an error that names what does not."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from organoseg.core import DataError, UsageError
from organoseg.models.agnostic import carry_over, predictor_parameters, split_groups
from organoseg.models.protocol import Segmenter
from organoseg.models.registry import build_engine

SMALL = {
    "compact": {"width": 16, "max_instances": 20},
    "mask2former": {
        "backbone": "mobilenet_v2", "hidden": 32, "ffn": 32, "encoder_ffn": 32, "heads": 2,
        "encoder_layers": 1, "decoder_layers": 2, "queries": 10,
    },
    "detectron2": {"architecture": "mask_rcnn_R_18_FPN", "width": 32, "box_width": 32, "norm": "GN"},
    "cascade": {"architecture": "cascade_mask_rcnn_R_50_FPN", "width": 32, "box_width": 32},
    "pointrend": {"architecture": "pointrend_R_50_FPN", "width": 32, "box_width": 32},
}  # fmt: skip
NEEDS = {"mask2former": "transformers", "detectron2": "detectron2"}
SCORES = {"compact": 2, "mask2former": 2, "detectron2": 2, "cascade": 6, "pointrend": 2}


def engine(kind: str, classes: tuple[int, ...], seed: int = 0) -> nn.Module:
    name = kind if kind in ("compact", "mask2former") else "detectron2"
    needed = NEEDS.get(name)
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not there")
    torch.manual_seed(seed)
    return build_engine(name, classes, SMALL[kind], None)


@pytest.mark.parametrize("kind", SMALL)
def test_all_but_the_class_scores_is_taken_over_bit_by_bit(kind: str) -> None:
    old, new = engine(kind, (1,), 0), engine(kind, (2, 5, 9), 1)
    before = {k: v.clone() for k, v in new.state_dict().items()}
    kept = carry_over(old, new, "fresh")
    ours, theirs = new.state_dict(), old.state_dict()
    assert len(kept) == SCORES[kind]
    for name, tensor in ours.items():
        if name in kept:
            assert torch.equal(tensor, before[name])
        elif tensor.shape == theirs[name].shape:
            assert torch.equal(tensor, theirs[name]), name
        else:  # boxes and masks of each class begin as those of the one class
            assert new.class_tensors[name] == "place", name  # type: ignore[index]
    assert {id(p) for n, p in new.named_parameters() if n in kept} == predictor_parameters(new)


@pytest.mark.parametrize("kind", SMALL)
def test_with_one_class_a_copied_predictor_is_the_same_engine(kind: str) -> None:
    old, new = engine(kind, (1,), 0), engine(kind, (1,), 1)
    assert carry_over(old, new, "copied") == ()
    assert all(torch.equal(v, old.state_dict()[k]) for k, v in new.state_dict().items())


def test_every_class_of_a_copied_score_finds_what_the_one_class_found() -> None:
    old, new = engine("compact", (1,), 0).eval(), engine("compact", (2, 5, 9), 1).eval()
    nn.init.normal_(old.network.score.weight)  # type: ignore[union-attr, arg-type]
    carry_over(old, new, "copied")
    pixels = torch.randn(1, 1, 64, 64)
    one, three = old.network(pixels), new.network(pixels)  # type: ignore[operator]
    for level, scores in one[0].items():
        assert torch.allclose(three[0][level], scores.expand(-1, 3, -1, -1), atol=1e-5)


def test_copied_into_a_softmax_no_object_is_as_probable_as_before() -> None:
    old, new = engine("mask2former", (1,), 0).eval(), engine("mask2former", (2, 5, 9), 1).eval()
    carry_over(old, new, "copied")
    pixels = torch.randn(1, 1, 64, 64)
    before, after = (e.queries(pixels).probabilities for e in (old, new))  # type: ignore[operator]
    assert torch.allclose(after[..., 3], before[..., 1], atol=1e-5)
    assert torch.allclose(after[..., :3], before[..., :1].expand(-1, -1, 3) / 3, atol=1e-5)


class Grown(nn.Module):
    """A layer whose last inputs are the classes' masks, and which draws one mask a class."""

    def __init__(self, classes: tuple[int, ...]) -> None:
        super().__init__()
        self.classes = classes
        self.class_tensors = {"draws.weight": "place", "draws.bias": "place"}
        self.draws = nn.Linear(4 + len(classes), len(classes))


def test_a_layer_that_sees_the_classes_masks_draws_as_before() -> None:
    old, new = Grown((1,)), Grown((1, 2))
    carry_over(old, new, "fresh")
    seen, mask = torch.randn(3, 4), torch.randn(3, 1)
    before = old.draws(torch.cat([seen, mask], 1))
    after = new.draws(torch.cat([seen, mask, mask], 1))
    assert torch.allclose(after, before.expand(-1, 2), atol=1e-6)


def _unknown(module: nn.Module) -> None:
    module.extra = nn.Parameter(torch.zeros(2))


def _wider(module: nn.Module) -> None:
    module.network.head[0][0].weight = nn.Parameter(torch.zeros(16, 8, 3, 3))  # type: ignore[union-attr, index]


def _silent(module: nn.Module) -> None:
    module.__class__ = type("Silent", (type(module),), {"class_tensors": {}})


def _several(module: nn.Module) -> None:
    module.classes = (1, 2)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (_unknown, DataError, "left over.*extra"),
        (_wider, DataError, r"network\.head\.0\.0\.weight"),
        (_silent, UsageError, "Silent does not say"),
        (_several, UsageError, "tells 2 apart"),
    ],
)
def test_what_is_not_accounted_for_is_named(
    change: Callable[[nn.Module], None], error: type[Exception], words: str
) -> None:
    old, new = engine("compact", (1,)), engine("compact", (1, 2))
    change(old)
    with pytest.raises(error, match=words):
        carry_over(old, new, "fresh")


def test_a_tensor_that_grows_with_the_classes_but_is_not_declared_is_named() -> None:
    old, new = engine("compact", (1,)), engine("compact", (1, 2))
    old.__class__ = type("Partly", (type(old),), {"class_tensors": {"network.score.bias": "score"}})
    with pytest.raises(DataError, match=r"network\.score\.weight has the shape"):
        carry_over(old, new, "fresh")


@pytest.mark.parametrize("kind", ["compact", "mask2former", "detectron2"])
def test_groups_are_split_without_loss_and_keep_their_rates(kind: str) -> None:
    module = engine(kind, (1, 2))
    assert isinstance(module, Segmenter)
    groups = module.parameter_groups(1e-3, 0.05)
    split = split_groups(module, groups)
    facts = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    again = {id(p): (g["lr"], g["weight_decay"]) for g in split for p in g["params"]}
    assert facts == again
    assert sum(len(g["params"]) for g in split) == len(facts)
    apart = {id(p) for g in split if not g["trunk"] for p in g["params"]}
    assert apart == predictor_parameters(module)
    assert math.isclose(min(g["lr"] for g in split if not g["trunk"]), 1e-3)
