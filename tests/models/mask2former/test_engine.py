"""The engine as the rest of organoseg sees it: it learns, answers, is saved and loaded, and refuses nonsense."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from organoseg.core import DataError, MissingPartError, UsageError
from organoseg.distill.weights import average_weights, freeze
from organoseg.evaluation import average_precision
from organoseg.models.ensemble import Thorough
from organoseg.models.folder import load_module, save_model
from organoseg.models.mask2former.engine import Mask2FormerSegmenter
from organoseg.models.mask2former.options import Mask2FormerOptions
from organoseg.models.protocol import QuerySegmenter, Segmenter
from organoseg.models.registry import build_engine
from tests.models.mask2former.small import OPTIONS, batch, engine


@pytest.fixture(scope="module")
def learnt() -> Mask2FormerSegmenter:
    """A small engine that has seen two images 150 times."""
    pixels, targets = batch(3, 4)
    module = engine()
    module.train()
    optimiser = torch.optim.AdamW(module.parameter_groups(2e-3, 0.05))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(150):
            loss = torch.stack(list(module.losses(pixels, targets).values())).sum()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
    return module.eval()


def test_it_speaks_the_protocol(learnt: Mask2FormerSegmenter) -> None:
    assert isinstance(learnt, Segmenter)
    assert isinstance(learnt, QuerySegmenter)


def test_it_learns_two_images_by_heart(learnt: Mask2FormerSegmenter) -> None:
    pixels, targets = batch(3, 4)
    found = {str(i): f for i, f in enumerate(learnt.segment(pixels))}
    truth = {str(i): t.instances for i, t in enumerate(targets)}
    assert average_precision(found, truth) > 0.35
    for each in found.values():
        assert (np.diff(each.scores) <= 0).all()


def test_answers_have_no_randomness_and_no_gradient(learnt: Mask2FormerSegmenter) -> None:
    pixels, _ = batch(3, 4)
    state = torch.get_rng_state()
    one, two = learnt.segment(pixels), learnt.segment(pixels)
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(one, two, strict=True):
        assert a.to_rles() == b.to_rles()
        assert np.array_equal(a.scores, b.scores)


@pytest.mark.parametrize("upscale", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("shape", [(64, 64), (70, 45), (31, 97), (20, 20)])
def test_any_size_of_image(shape: tuple[int, int], upscale: float) -> None:
    module = engine(upscale=upscale).eval()
    pixels = torch.randn(2, 1, *shape)
    for found in module.segment(pixels, 0.0):
        assert found.shape == shape
    answer = module.queries(pixels)
    assert answer.masks.shape == (2, 12, -(-shape[0] // 4), -(-shape[1] // 4))
    assert answer.probabilities.shape == (2, 12, 2)
    assert torch.allclose(answer.probabilities.sum(-1), torch.ones(2, 12))
    _, targets = batch(2, 1, shape=(max(shape[0], 26), max(shape[1], 26)))
    cropped = [type(t).labelled(t.instances.crop(0, 0, *shape)) for t in targets]
    losses = module.train().losses(pixels, cropped)
    assert all(bool(torch.isfinite(v)) for v in losses.values())


def test_an_enlarged_image_gives_masks_at_its_own_size(learnt: Mask2FormerSegmenter) -> None:
    # The same weights shown the image at half size and told to enlarge it: the organoids lie where they lay.
    pixels, targets = batch(3, 4)
    small = torch.nn.functional.interpolate(pixels, scale_factor=0.5, mode="area")
    doubling = engine(upscale=2.0)
    doubling.load_state_dict(learnt.state_dict())
    for found, target in zip(doubling.eval().segment(small), targets, strict=True):
        assert found.shape == (32, 32)
        best = target.instances.iou(found.scale((64, 64))).max(1)
        assert (best > 0.5).mean() >= 0.5


def test_queries_say_what_segment_says(learnt: Mask2FormerSegmenter) -> None:
    pixels, _ = batch(3)
    answer = learnt.queries(pixels)
    sure = answer.probabilities[0, :, 0].sort(descending=True).values
    found = learnt.segment(pixels, 0.5)[0]
    assert int((sure > 0.5).sum()) >= len(found) > 0
    # The surest query's mask is the surest organoid's, at a quarter of the size.
    query = int(answer.probabilities[0, :, 0].argmax())
    coarse = (answer.masks[0, query] > 0).numpy().repeat(4, 0).repeat(4, 1)
    overlap = [(coarse & m).sum() / (coarse | m).sum() for m in found.to_dense()]
    assert max(overlap) > 0.7


def test_several_looks_agree(learnt: Mask2FormerSegmenter) -> None:
    pixels, targets = batch(3)
    found = Thorough(learnt, (1.0, 1.0)).segment(pixels)[0]
    assert found.shape == targets[0].instances.shape


def test_a_saved_model_answers_the_same(learnt: Mask2FormerSegmenter, tmp_path: Path) -> None:
    save_model(tmp_path, learnt, "mask2former", learnt.options, {1: "organoid"}, 0.3, {})
    again, description = load_module(tmp_path)
    assert description.engine == "mask2former"
    pixels, _ = batch(3, 4)
    for a, b in zip(learnt.segment(pixels), again.segment(pixels), strict=True):  # type: ignore[operator]
        assert a.to_rles() == b.to_rles()
        assert np.array_equal(a.scores, b.scores)


def test_what_was_decided_from_the_weights_is_saved(shared: Path, tmp_path: Path) -> None:
    weights = str(shared / "weights" / "mobilenet_v2_imagenet_folded.npz")
    module = engine(weights=weights)
    assert module.options["padding"] == "tensorflow"
    assert module.options["backbone_rate"] == 0.1
    save_model(tmp_path, module, "mask2former", module.options, {1: "organoid"}, 0.3, {})
    again, _ = load_module(tmp_path)
    assert again.options == module.options


def test_weights_of_other_options_are_refused(learnt: Mask2FormerSegmenter, tmp_path: Path) -> None:
    options = learnt.options | {"hidden": 64}
    save_model(tmp_path, learnt, "mask2former", options, {1: "organoid"}, 0.3, {})
    with pytest.raises(DataError, match="do not fit the engine"):
        load_module(tmp_path)
    save_model(tmp_path, learnt, "mask2former", learnt.options, {1: "a", 2: "b"}, 0.3, {})
    with pytest.raises(DataError, match="do not fit the engine"):
        load_module(tmp_path)


# -- what trains ----------------------------------------------------------------------------------


def _group_of(module: Mask2FormerSegmenter, name: str) -> dict[str, Any]:
    parameter = dict(module.network.named_parameters())[name]
    groups = module.parameter_groups(1.0, 0.05)
    return next(g for g in groups if any(p is parameter for p in g["params"]))


def test_groups_are_the_paper_s() -> None:
    # Methods of Berrada et al. 2023: backbone x 0.1; no decay for norms, embeddings, position tables.
    module = engine(backbone="swin_t", backbone_rate=0.1)
    body = "backbone.body.swin.encoder.layers.0.blocks.0"
    names = [n for n, _ in module.network.named_parameters()]
    table = next(n for n in names if n.endswith("relative_position_bias_table"))
    norm = next(n for n in names if n.startswith(body) and "layernorm" in n)
    linear = next(
        n for n, p in module.network.named_parameters()
        if n.startswith(body) and p.ndim == 2 and n != table
    )  # fmt: skip
    expected = {
        linear: (0.1, 0.05),
        norm: (0.1, 0.0),
        table: (0.1, 0.0),
        "pixel_decoder.input_projections.0.0.weight": (1.0, 0.05),
        "pixel_decoder.input_projections.0.1.weight": (1.0, 0.0),  # group norm
        "transformer.queries_features.weight": (1.0, 0.0),
        "transformer.level_embed.weight": (1.0, 0.0),
        "transformer.decoder.layers.0.fc1.bias": (1.0, 0.05),
        "class_predictor.weight": (1.0, 0.05),
    }
    for name, (rate, decay) in expected.items():
        group = _group_of(module, name)
        assert (group["lr"], group["weight_decay"]) == (rate, decay), name
    trained = [id(p) for g in module.parameter_groups(1.0, 0.05) for p in g["params"]]
    assert len(trained) == len(set(trained))
    assert set(trained) == {id(p) for p in module.parameters() if p.requires_grad}


def test_a_backbone_of_rate_0_is_not_trained() -> None:
    module = engine(backbone_rate=0.0)
    assert not any(p.requires_grad for p in module.encoder.parameters())
    body = {id(p) for p in module.encoder.parameters()}
    assert not any(id(p) in body for g in module.parameter_groups(1, 0) for p in g["params"])


def test_frozen_norms_keep_the_statistics_of_the_pre_training() -> None:
    for frozen in (True, False):
        module = engine(backbone="resnet18", frozen_norms=frozen, backbone_rate=0.1)
        before = copy.deepcopy(module.network.backbone.state_dict())
        module.train()
        pixels, targets = batch(2)
        module.losses(pixels, targets)
        after = module.network.backbone.state_dict()
        moved = [
            k for k in before if k.endswith("running_mean") and not torch.equal(before[k], after[k])
        ]
        assert bool(moved) is not frozen


def test_a_teacher_is_a_copy_that_averages(learnt: Mask2FormerSegmenter) -> None:
    student = copy.deepcopy(learnt)
    student.gradient_checkpointing = True
    teacher = freeze(copy.deepcopy(student))
    assert isinstance(teacher, Mask2FormerSegmenter)
    with torch.no_grad():
        student.network.class_predictor.weight.add_(1)
    average_weights(teacher, student, 0.75)
    moved = teacher.network.class_predictor.weight - learnt.network.class_predictor.weight
    assert torch.allclose(moved, torch.full_like(moved, 0.25), atol=1e-6)
    pixels, _ = batch(3)
    assert len(learnt.segment(pixels)[0]) > 0
    assert len(teacher.segment(pixels)) == 1


def test_checkpointed_activations_give_the_same_gradients() -> None:
    pixels, targets = batch(3, 2)
    gradients = []
    for on in (False, True):
        module = engine(gradient_checkpointing=on).train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            torch.stack(list(module.losses(pixels, targets).values())).sum().backward()
        gradients.append([p.grad for p in module.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert a is not None
        assert b is not None
        assert torch.allclose(a, b, atol=1e-5)


def test_half_precision_trains() -> None:
    module = engine().train()
    pixels, targets = batch(3, 0)
    with torch.autocast("cpu", torch.bfloat16):
        losses = module.losses(pixels, targets)
        found = module.segment(pixels, 0.0)
    total = torch.stack(list(losses.values())).sum()
    assert total.dtype == torch.float32
    total.backward()
    assert all(
        bool(torch.isfinite(p.grad).all()) for p in module.parameters() if p.grad is not None
    )
    assert len(found) == 2


# -- words of a recipe ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet34"}, "option backbone"),
        ({"query": 100}, "option query"),
        ({"queries": 0}, "option queries"),
        ({"queries": "100"}, "option queries"),
        ({"hidden": 48}, "option hidden"),
        ({"hidden": 32, "heads": 5}, "no multiple of heads"),
        ({"upscale": 3}, "upscale is 1, 1.5 or 2"),
        ({"backbone": "swin_t", "padding": "symmetric"}, "mobilenet_v2 only"),
        ({"compile": 1}, "option compile"),
    ],
)
def test_options_that_are_wrong_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_engine("mask2former", (1,), options, None)


def test_defaults_are_the_paper_s() -> None:
    # methods of Berrada et al. 2023: 100 queries, 6 + 9 layers, 256 / 2048, weights 2 / 5 / 5, no object .1,
    # 12544 points, oversampled 3 times, three quarters of them at uncertain places.
    o = Mask2FormerOptions()
    assert (o.queries, o.encoder_layers, o.decoder_layers, o.hidden, o.ffn) == (
        100,
        6,
        9,
        256,
        2048,
    )
    assert (o.class_weight, o.mask_weight, o.dice_weight, o.no_object_weight) == (2, 5, 5, 0.1)
    assert (o.points, o.oversample, o.importance) == (12544, 3, 0.75)
    assert o.mask_nms is None


def test_without_transformers_the_error_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers.models.resnet", None)
    with pytest.raises(MissingPartError, match=r"pip install 'organoseg\[mask2former\]'"):
        build_engine("mask2former", (1,), OPTIONS | {"backbone": "resnet18"}, None)


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(DataError, match="do not fit"):
        build_engine("mask2former", (1,), OPTIONS, str(path))
    with pytest.raises(UsageError, match="no encoder weights named"):
        build_engine("mask2former", (1,), OPTIONS, "nothing")
