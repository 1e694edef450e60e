"""Our forward pass is the library's; backbones give what the decoders expect."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import torch
from torch import nn

from organoseg.models.mask2former import backbones
from organoseg.models.mask2former.backbones import GreyToColour, make_backbone
from organoseg.models.mask2former.network import Mask2FormerNetwork
from organoseg.models.mask2former.options import parse_options
from tests.models.mask2former.small import OPTIONS, engine

#: Where the parts of our network lie in the library's.
PREFIXES = (
    ("backbone.body.", "model.pixel_level_module.encoder."),
    ("pixel_decoder.", "model.pixel_level_module.decoder."),
    ("transformer.", "model.transformer_module."),
    ("class_predictor.", "class_predictor."),
)
#: Bodies of each family, cut down so that a processor builds them in no time.
CUT: dict[str, dict[str, Any]] = {
    "resnet18": {"depths": (1, 1, 1, 1), "hidden_sizes": (8, 8, 16, 16), "embedding_size": 8},
    "resnet50": {"depths": (1, 1, 1, 1), "hidden_sizes": (16, 16, 32, 32), "embedding_size": 8},
    "swin_t": {"embed_dim": 12, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 4)},
    "convnext_tiny": {"depths": (1, 1, 1, 1), "hidden_sizes": [8, 8, 16, 16]},
    "dinov2_s": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2},
    "dinov3_s": {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2},
    "dinov3_convnext_tiny": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16]},
}  # fmt: skip


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, config in CUT.items():
        whole = backbones.LIBRARY[name]
        fields = {**vars(whole), "config": {**whole.config, **config}}
        monkeypatch.setitem(backbones.LIBRARY, name, backbones.Published(**fields))


def _library_twin(network: Mask2FormerNetwork, options: dict[str, Any]) -> Any:
    """The library's own model with the same weights."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    chosen = parse_options(options)
    config = Mask2FormerConfig(
        backbone_config=network.backbone.body.config,
        feature_size=chosen.hidden, mask_feature_size=chosen.hidden, hidden_dim=chosen.hidden,
        encoder_feedforward_dim=chosen.encoder_ffn, dim_feedforward=chosen.ffn,
        encoder_layers=chosen.encoder_layers, decoder_layers=chosen.decoder_layers + 1,
        num_attention_heads=chosen.heads, num_queries=chosen.queries, num_labels=2,
    )  # fmt: skip
    twin = Mask2FormerForUniversalSegmentation(config)
    tensors = {}
    for key, value in network.state_dict().items():
        ours, theirs = next(p for p in PREFIXES if key.startswith(p[0]))
        tensors[theirs + key.removeprefix(ours)] = value
    missing, extra = twin.load_state_dict(tensors, strict=False)
    assert missing == ["criterion.empty_weight"]
    assert extra == []
    return twin


@pytest.mark.parametrize("backbone", ["resnet18", "swin_t"])
def test_the_forward_pass_is_the_library_s(cut: None, backbone: str) -> None:
    options = OPTIONS | {"backbone": backbone, "decoder_layers": 4, "encoder_layers": 2}
    network = engine((1, 2), **options).network.double().eval()
    twin = _library_twin(network, options).double().eval()
    # Sampling offsets begin at zero for the features: give them something to do.
    with torch.no_grad():
        for layer, other in zip(
            network.pixel_decoder.encoder.layers,
            twin.model.pixel_level_module.decoder.encoder.layers,
            strict=True,
        ):
            for name in ("sampling_offsets", "attention_weights"):
                weight = torch.randn_like(getattr(layer.self_attn, name).weight)
                getattr(layer.self_attn, name).weight.copy_(weight)
                getattr(other.self_attn, name).weight.copy_(weight)
    pixels = torch.randn(2, 1, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        ours = network(pixels)
        colour = network.backbone.colour(pixels)
        theirs = twin(colour, output_auxiliary_logits=True)
    layers = [*theirs.auxiliary_logits, theirs]
    assert len(layers) == len(ours.classes) == 5
    for i, layer in enumerate(layers):
        get = layer.get if isinstance(layer, dict) else layer.__getattribute__
        assert torch.allclose(ours.classes[i], get("class_queries_logits"), atol=2e-5)
        assert torch.allclose(ours.masks(i), get("masks_queries_logits"), atol=2e-5)


@pytest.mark.parametrize("name", [*CUT, "mobilenet_v2"])
@torch.no_grad()
def test_backbones_give_four_strides(cut: None, name: str) -> None:
    backbone = make_backbone(name, "symmetric").eval()
    maps = backbone(torch.randn(1, 1, 64, 96))
    sizes = [(64 // s, 96 // s) for s in (4, 8, 16, 32)]
    assert [tuple(m.shape[2:]) for m in maps] == sizes
    assert tuple(m.shape[1] for m in maps) == backbone.channels


@pytest.mark.parametrize("name", [*CUT, "mobilenet_v2"])
def test_everything_that_trains_has_a_gradient(cut: None, name: str) -> None:
    # Processes that train together wait for every gradient; the library's Swin has layers that never get one.
    module = engine(backbone=name, drop_path=0.0)
    module.train()
    prediction = module.network(torch.randn(1, 1, 64, 64))
    (prediction.masks().sum() + prediction.classes.sum() + prediction.embeddings.sum()).backward()
    without = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_patch_tokens_lie_where_their_patches_lie(cut: None) -> None:
    # A patch of 14 px divides no multiple of 32: the maps must still be aligned with the image.
    backbone = make_backbone("dinov2_s", "symmetric")
    assert isinstance(backbone, backbones.TokenBackbone)

    class Ramp(nn.Module):
        """Each token is its patch's mean column."""

        def forward(self, pixels: torch.Tensor) -> Any:
            mean = nn.functional.avg_pool2d(pixels[:, :1], 14).expand(-1, 24, -1, -1)
            return type("Output", (), {"feature_maps": (mean,)})

    backbone.body = Ramp()
    backbone.colour = nn.Identity()  # type: ignore[assignment]
    for projection in backbone.projections:
        nn.init.constant_(projection.weight, 1 / 24)  # type: ignore[arg-type]
        nn.init.zeros_(projection.bias)  # type: ignore[arg-type]
    columns = torch.arange(256.0).expand(1, 1, 128, 256)
    for stride, each in zip((4, 8, 16, 32), backbone(columns), strict=True):
        expected = torch.arange(256 // stride) * stride + (stride - 1) / 2
        inner = slice(32 // stride, (256 - 32) // stride)
        assert torch.allclose(each[0, 0, 0, inner], expected[inner], atol=0.01)


def test_grey_is_shown_as_a_photograph_from_black_to_white() -> None:
    black_and_white = GreyToColour()(torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2))
    mean, deviation = torch.tensor(backbones.MEAN), torch.tensor(backbones.DEVIATION)
    assert torch.allclose(black_and_white[0, :, 0, 0], (0 - mean) / deviation)
    assert torch.allclose(black_and_white[0, :, 0, 1], (1 - mean) / deviation)


def test_nothing_contacts_the_hub(cut: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked for something on the internet")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in CUT:
        engine(backbone=name)


def test_equal_seeds_give_equal_networks(cut: None) -> None:
    one, same, other = (engine(backbone="swin_t", seed=s).state_dict() for s in (0, 0, 1))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


def test_bfloat16_keeps_places_in_full_precision(cut: None) -> None:
    network = engine(backbone="resnet18").network.eval()
    pixels = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        exact = network(pixels)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(pixels)
    spread = exact.masks().std()
    assert (exact.masks() - rounded.masks().float()).abs().mean() < 0.1 * spread
