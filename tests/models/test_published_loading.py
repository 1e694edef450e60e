"""Published weights under all their names: the same network comes out, or an error that says what is wrong."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from organoseg.core import DataError
from organoseg.models.folder import load_module, save_model
from organoseg.models.published import CATALOGUE, load_backbone, load_start
from organoseg.models.published.loading import ReplacedHeadWarning
from organoseg.models.registry import build_engine
from organoseg.models.weights import read_tensors

pytest.importorskip("transformers", reason="the extra 'mask2former' is not installed")

from organoseg.models.mask2former.backbones import Backbone, PyramidBackbone, library
from organoseg.models.mask2former.network import Mask2FormerNetwork
from organoseg.models.mask2former.options import Mask2FormerOptions

Tensors = dict[str, Tensor]
HERE = Path("somewhere/weights.pth")
STAGES = ["stage1", "stage2", "stage3", "stage4"]
SMALL = {
    "resnet": {"embedding_size": 4, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 2, 1, 1]},
    "basic": {
        "embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [2, 1, 1, 1], "layer_type": "basic",
    },
    "swin": {"embed_dim": 8, "depths": [2, 1, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 3},
    "convnext": {"hidden_sizes": [4, 8, 12, 16], "depths": [1, 2, 1, 1]},
    "dinov2": {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28},
    "dinov3_vit": {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_register_tokens": 4,
    },
    "dinov3_convnext": {"hidden_sizes": [4, 8, 12, 16], "depths": [1, 2, 1, 1]},
}  # fmt: skip
CLASSES = {
    "resnet": "ResNet", "basic": "ResNet", "swin": "Swin", "convnext": "ConvNext", "dinov2": "Dinov2",
    "dinov3_vit": "DINOv3ViT", "dinov3_convnext": "DINOv3ConvNext",
}  # fmt: skip


def body(kind: str, seed: int = 0, **other: Any) -> Any:
    """A tiny backbone of the library; every tensor is random, also those that begin as ones or zeros."""
    where = library("resnet" if kind == "basic" else kind)
    config = {**SMALL[kind], **other}
    stages = ["stage2"] if kind in ("dinov2", "dinov3_vit") else STAGES
    settings = getattr(where, f"{CLASSES[kind]}Config")(**config, out_features=stages)
    made = getattr(where, f"{CLASSES[kind]}Backbone")(settings)
    scramble(made, seed)
    return made


def scramble(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
            else:
                tensor.fill_(seed)


def renamed(tensors: Tensors, rules: list[tuple[str, str | Callable[[Any], str]]]) -> Tensors:
    found = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor.clone()
    assert len(found) == len(tensors)
    return found


def fused(tensors: Tensors, pattern: str, place: str) -> Tensors:
    """Query, key and value projections laid into one tensor."""
    found: Tensors = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(pattern, name)
        if match is None:
            found[name] = tensor
            continue
        if match["part"] == "q":
            parts = [tensors[name.replace("q_proj", f"{p}_proj")] for p in "qkv"]
            found[place.format(**match.groupdict())] = torch.cat(parts)
    return found


# What the library calls the parameters differs between its versions; the tables below start from these.
OURS = [
    (r"^swin\.", ""),
    (r"relative_position_bias\.relative_position_bias_table", "relative_position_bias_table"),
]
SWIN_QKV = r"(?P<before>.*)\.attention\.(?P<part>[qkv])_proj\.(?P<after>weight|bias)"
MICROSOFT = [
    (r"embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.layers", "layers"),
    (r"layernorm_before", "norm1"), (r"layernorm_after", "norm2"),
    (r"attention\.o_proj", "attn.proj"), (r"attention\.rel", "attn.rel"),
    (r"^layernorm\.", "norm."),
    (r"^hidden_states_norms\.stage(\d)", lambda m: f"norm{int(m[1]) - 1}"),
]  # fmt: skip


def swin_of_microsoft(tensors: Tensors) -> Tensors:
    tensors = fused(renamed(tensors, OURS), SWIN_QKV, "{before}.attn.qkv.{after}")
    return renamed(tensors, MICROSOFT) | {
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(9, 9, dtype=torch.int64),
        "layers.0.blocks.1.attn_mask": torch.zeros(4, 9, 9),
        "head.weight": torch.zeros(5, 64), "head.bias": torch.zeros(5),
    }  # fmt: skip


def swin_of_torchvision(tensors: Tensors) -> Tensors:
    return renamed(
        swin_of_microsoft(tensors),
        [
            (r"^patch_embed\.proj", "features.0.0"), (r"^patch_embed\.norm", "features.0.2"),
            (r"^layers\.(\d)\.blocks", lambda m: f"features.{2 * int(m[1]) + 1}"),
            (r"^layers\.(\d)\.downsample", lambda m: f"features.{2 * int(m[1]) + 2}"),
            (r"mlp\.fc1", "mlp.0"), (r"mlp\.fc2", "mlp.3"),
        ],
    )  # fmt: skip


LONG = {"q": "query", "k": "key", "v": "value"}
OLD_LIBRARY = [
    *OURS,
    (r"attention\.([qkv])_proj", lambda m: f"attention.self.{LONG[m[1]]}"),
    (r"attention\.o_proj", "attention.output.dense"), (r"attention\.rel", "attention.self.rel"),
    (r"mlp\.fc1", "intermediate.dense"), (r"mlp\.fc2", "output.dense"),
]  # fmt: skip


def swin_of_the_hub(tensors: Tensors) -> Tensors:
    found = renamed(tensors, [*OLD_LIBRARY, (r"^", "swin.")])
    return found | {"classifier.weight": torch.zeros(5, 64), "classifier.bias": torch.zeros(5)}


def less(prefix: str) -> Callable[[Any], str]:
    return lambda m: f"{prefix}{int(m[1]) + 1}"


TORCHVISION_RESNET = [
    (r"^embedder\.embedder\.convolution", "conv1"), (r"^embedder\.embedder\.normalization", "bn1"),
    (r"^encoder\.stages\.(\d)\.layers", less("layer")),
    (r"layer\.(\d)\.convolution", less("conv")), (r"layer\.(\d)\.normalization", less("bn")),
    (r"shortcut\.convolution", "downsample.0"), (r"shortcut\.normalization", "downsample.1"),
]  # fmt: skip


def resnet_of_torchvision(tensors: Tensors) -> Tensors:
    return renamed(tensors, TORCHVISION_RESNET) | {
        "fc.weight": torch.zeros(5, 32), "fc.bias": torch.zeros(5),
    }  # fmt: skip


def resnet_of_detectron2(tensors: Tensors) -> Tensors:
    found = renamed(
        tensors,
        [
            (r"^embedder\.embedder\.convolution", "stem.conv1"),
            (r"^embedder\.embedder\.normalization", "stem.conv1.norm"),
            (r"^encoder\.stages\.(\d)\.layers", lambda m: f"res{int(m[1]) + 2}"),
            (r"layer\.(\d)\.convolution", less("conv")),
            (r"layer\.(\d)\.normalization", lambda m: f"conv{int(m[1]) + 1}.norm"),
            (r"shortcut\.convolution", "shortcut"), (r"shortcut\.normalization", "shortcut.norm"),
        ],
    )  # fmt: skip
    return {k: v for k, v in found.items() if not k.endswith("num_batches_tracked")}


def resnet_of_the_hub(tensors: Tensors) -> Tensors:
    return renamed(tensors, [(r"^", "resnet.")]) | {"classifier.1.weight": torch.zeros(5, 32)}


def convnext_of_torchvision(tensors: Tensors) -> Tensors:
    found = renamed(
        {k: v for k, v in tensors.items() if "hidden_states_norms" not in k},
        [
            (r"^embeddings\.patch_embeddings", "features.0.0"), (r"^embeddings\.layernorm", "features.0.1"),
            (r"^encoder\.stages\.(\d)\.layers", lambda m: f"features.{2 * int(m[1]) + 1}"),
            (r"^encoder\.stages\.(\d)\.downsampling_layer", lambda m: f"features.{2 * int(m[1])}"),
            (r"\.dwconv\.", ".block.0."), (r"\.layernorm\.", ".block.2."),
            (r"\.pwconv1\.", ".block.3."), (r"\.pwconv2\.", ".block.5."),
            (r"layer_scale_parameter", "layer_scale"),
        ],
    )  # fmt: skip
    found = {k: v[:, None, None] if k.endswith("layer_scale") else v for k, v in found.items()}
    return found | {
        "classifier.0.weight": torch.zeros(16),
        "classifier.2.weight": torch.zeros(5, 16),
    }


def convnext_of_the_hub(tensors: Tensors) -> Tensors:
    kept = {k: v for k, v in tensors.items() if "hidden_states_norms" not in k}
    return renamed(kept, [(r"^", "convnext.")]) | {
        "convnext.layernorm.weight": torch.zeros(16), "classifier.weight": torch.zeros(5, 16),
    }  # fmt: skip


def dinov2_of_the_hub(tensors: Tensors) -> Tensors:
    return renamed(
        tensors,
        [
            (r"attention\.([qkv])_proj", lambda m: f"attention.attention.{LONG[m[1]]}"),
            (r"attention\.o_proj", "attention.output.dense"),
        ],
    )  # fmt: skip


def dinov2_of_meta(tensors: Tensors) -> Tensors:
    tensors = fused(tensors, SWIN_QKV, "{before}.attn.qkv.{after}")
    return renamed(
        tensors,
        [
            (r"^embeddings\.(cls|mask)_token", r"\1_token"),
            (r"^embeddings\.position_embeddings", "pos_embed"),
            (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
            (r"^encoder\.layer\.", "blocks."), (r"attention\.o_proj", "attn.proj"),
            (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"), (r"^layernorm", "norm"),
        ],
    )  # fmt: skip


def dinov3_of_the_hub(tensors: Tensors) -> Tensors:
    return renamed(tensors, [(r"^model\.layer\.", "layer.")])


def dinov3_convnext_of_the_hub(tensors: Tensors) -> Tensors:
    return renamed(tensors, [(r"^model\.", "")])


DIALECTS: dict[str, tuple[str, Callable[[Tensors], Tensors]]] = {
    "resnet, torchvision": ("resnet", resnet_of_torchvision),
    "resnet, basic, torchvision": ("basic", resnet_of_torchvision),
    "resnet, detectron2": ("resnet", resnet_of_detectron2),
    "resnet, hub": ("resnet", resnet_of_the_hub),
    "swin, torchvision": ("swin", swin_of_torchvision),
    "swin, Microsoft": ("swin", swin_of_microsoft),
    "swin, hub": ("swin", swin_of_the_hub),
    "convnext, torchvision": ("convnext", convnext_of_torchvision),
    "convnext, hub": ("convnext", convnext_of_the_hub),
    "dinov2, hub": ("dinov2", dinov2_of_the_hub),
    "dinov2, Meta": ("dinov2", dinov2_of_meta),
    "dinov3, hub": ("dinov3_vit", dinov3_of_the_hub),
    "dinov3 convnext, hub": ("dinov3_convnext", dinov3_convnext_of_the_hub),
}


def assert_same(ours: nn.Module, theirs: nn.Module, but: str = r"(?!)") -> None:
    for name, tensor in theirs.state_dict().items():
        if not re.search(but, name):
            assert torch.equal(ours.state_dict()[name], tensor), name


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_backbone_loads_from_whatever_its_publisher_calls_its_parts(dialect: str) -> None:
    kind, translate = DIALECTS[dialect]
    ours, theirs = body(kind, 1), body(kind, 2)
    load_backbone(ours, translate(theirs.state_dict()), HERE)
    # What ImageNet's weights lack: counters, and norms of the outputs that begin as they are.
    assert_same(ours, theirs, r"num_batches_tracked|hidden_states_norms")
    pixels = torch.rand(1, 3, 64, 64)
    if "hidden_states_norms" not in "".join(theirs.state_dict()):
        ours.eval(), theirs.eval()
        with torch.no_grad():
            mine, other = ours(pixels).feature_maps, theirs(pixels).feature_maps
        assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_key_too_many_or_too_few_is_named(dialect: str) -> None:
    kind, translate = DIALECTS[dialect]
    tensors = translate(body(kind).state_dict())
    ends = ("conv1.weight", "convolution.weight", "proj.weight", "dense.weight", "dwconv.weight")
    lost = next(k for k in tensors if k.endswith((*ends, "conv.weight", "block.0.weight")))
    with pytest.raises(DataError, match=r"do not fit the network: missing \S+, unexpected nothing"):
        load_backbone(body(kind), {k: v for k, v in tensors.items() if k != lost}, HERE)
    with pytest.raises(DataError, match=r"missing nothing, unexpected extra\.weight") as caught:
        load_backbone(body(kind), tensors | {"extra.weight": torch.zeros(1)}, HERE)
    assert caught.value.where == str(HERE)


def test_a_failed_load_changes_nothing() -> None:
    ours = body("swin", 1)
    tensors = swin_of_the_hub(body("swin", 2).state_dict())
    last = list(tensors)[-4]
    tensors[last] = tensors[last][:-1]
    with pytest.raises(DataError, match="all finite"):
        load_backbone(ours, tensors, HERE)
    assert_same(ours, body("swin", 1))


@pytest.mark.parametrize("kind", ["resnet", "swin", "convnext", "dinov2", "dinov3_vit"])
def test_weights_of_another_architecture_are_called_by_its_name(kind: str) -> None:
    other = "swin" if kind == "resnet" else "resnet"
    with pytest.raises(DataError, match=r"weights are of a (Swin|ResNet).*, the backbone is a"):
        load_backbone(body(kind), body(other).state_dict(), HERE)


def test_weights_of_nothing_known_are_refused() -> None:
    with pytest.raises(DataError, match=r"of no kind known here \(a\.weight\)"):
        load_backbone(body("resnet"), {"a.weight": torch.zeros(1)}, HERE)


def test_another_size_and_another_window_are_refused() -> None:
    with pytest.raises(DataError, match="unexpected"):
        load_backbone(body("resnet"), body("resnet", depths=[1, 2, 2, 1]).state_dict(), HERE)
    with pytest.raises(
        DataError, match=r"relative_position_bias_table.*is \(81, 1\), expected \(25, 1\)"
    ):
        load_backbone(body("swin"), body("swin", window_size=5).state_dict(), HERE)


def test_broken_numbers_are_refused() -> None:
    tensors = resnet_of_torchvision(body("resnet").state_dict())
    tensors["conv1.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match=r"conv1\.weight.*all finite"):
        load_backbone(body("resnet"), tensors, HERE)


def test_two_names_of_one_parameter_are_a_fault() -> None:
    tensors = resnet_of_torchvision(body("resnet").state_dict())
    tensors["module.conv1.weight"] = tensors["conv1.weight"]
    with pytest.raises(DataError, match="mean the same parameter"):
        load_backbone(body("resnet"), tensors, HERE)


# Whole networks


def network(kind: str, seed: int, classes: int = 1, queries: int = 7) -> Mask2FormerNetwork:
    options = Mask2FormerOptions(
        queries=queries,
        hidden=32,
        heads=4,
        ffn=24,
        encoder_ffn=16,
        encoder_layers=2,
        decoder_layers=3,
    )
    backbone: Backbone = PyramidBackbone(body(kind, seed))
    made = Mask2FormerNetwork(options, backbone, classes)
    scramble(made, seed)
    return made


def of_the_hub(tensors: Tensors) -> Tensors:
    """As `transformers` saved them when the hub's files were made."""
    body_names = {k: v for k, v in tensors.items() if k.startswith("backbone.body.")}
    rest = {k: v for k, v in tensors.items() if k not in body_names}
    short = {k.removeprefix("backbone.body."): v for k, v in body_names.items()}
    old = renamed(short, OLD_LIBRARY) if any("swin" in k for k in short) else short
    return (
        {f"model.pixel_level_module.encoder.{k}": v for k, v in old.items()}
        | renamed(
            rest,
            [
                (r"^pixel_decoder\.", "model.pixel_level_module.decoder."),
                (r"^transformer\.", "model.transformer_module."),
            ],
        )
        | {"criterion.empty_weight": torch.ones(2)}
    )  # fmt: skip


SELF = r"transformer\.decoder\.layers\.(?P<i>\d+)\.self_attn\.(?P<part>[qkv])_proj\.(?P<after>weight|bias)"
PREDICTOR = "sem_seg_head.predictor."
SELF_LAYERS = PREDICTOR + r"transformer_self_attention_layers.\1."
CROSS_LAYERS = PREDICTOR + r"transformer_cross_attention_layers.\1."
FFN_LAYERS = PREDICTOR + r"transformer_ffn_layers.\1."
QUERY_LAYERS = r"^transformer\.decoder\.layers\.(\d+)\."
ORIGINAL = [
    (r"^pixel_decoder\.level_embed", "sem_seg_head.pixel_decoder.transformer.level_embed"),
    (r"^pixel_decoder\.input_projections", "sem_seg_head.pixel_decoder.input_proj"),
    (r"^pixel_decoder\.mask_projection", "sem_seg_head.pixel_decoder.mask_features"),
    (r"^pixel_decoder\.(adapter|layer)_1\.0\.", r"sem_seg_head.pixel_decoder.\1_1."),
    (r"^pixel_decoder\.(adapter|layer)_1\.1\.", r"sem_seg_head.pixel_decoder.\1_1.norm."),
    (r"^pixel_decoder\.encoder", "sem_seg_head.pixel_decoder.transformer.encoder"),
    (r"(transformer\.encoder\.layers\.\d+)\.fc(\d)", r"\1.linear\2"),
    (r"(transformer\.encoder\.layers\.\d+)\.self_attn_layer_norm", r"\1.norm1"),
    (r"(transformer\.encoder\.layers\.\d+)\.final_layer_norm", r"\1.norm2"),
    (r"^class_predictor", PREDICTOR + "class_embed"),
    (r"^transformer\.queries_features", PREDICTOR + "query_feat"),
    (r"^transformer\.queries_embedder", PREDICTOR + "query_embed"),
    (r"^transformer\.level_embed", PREDICTOR + "level_embed"),
    (r"^transformer\.decoder\.layernorm", PREDICTOR + "decoder_norm"),
    (r"^transformer\.decoder\.mask_predictor\.mask_embedder\.(\d)\.0", PREDICTOR + r"mask_embed.layers.\1"),
    (QUERY_LAYERS + r"self_attn\.", SELF_LAYERS + "self_attn."),
    (QUERY_LAYERS + r"self_attn_layer_norm\.", SELF_LAYERS + "norm."),
    (QUERY_LAYERS + r"cross_attn\.", CROSS_LAYERS + "multihead_attn."),
    (QUERY_LAYERS + r"cross_attn_layer_norm\.", CROSS_LAYERS + "norm."),
    (QUERY_LAYERS + r"fc(\d)\.", FFN_LAYERS + r"linear\2."),
    (QUERY_LAYERS + r"final_layer_norm\.", FFN_LAYERS + "norm."),
]  # fmt: skip


def of_the_original(tensors: Tensors) -> Tensors:
    """As the authors' detectron2 saves them: MSDeformAttnPixelDecoder, MultiScaleMaskedTransformerDecoder."""
    inner = {k: v for k, v in tensors.items() if k.startswith("backbone.body.")}
    short = {k.removeprefix("backbone.body."): v for k, v in inner.items()}
    rest = {k: v for k, v in tensors.items() if k not in inner}
    rest = fused(rest, SELF, "transformer.decoder.layers.{i}.self_attn.in_proj_{after}")
    found = renamed(rest, ORIGINAL)
    assert all(k.startswith("sem_seg_head.") for k in found), "the table has a place for every part"
    swin = any("swin" in k for k in short)
    theirs = swin_of_microsoft(short) if swin else resnet_of_detectron2(short)
    if swin:  # the norms of its four outputs, and no classifier
        theirs = {k: v for k, v in theirs.items() if not k.startswith(("head", "norm."))}
    found |= {f"backbone.{k}": v for k, v in theirs.items()}
    return found | {"criterion.empty_weight": torch.ones(2)}


@pytest.mark.parametrize("kind", ["resnet", "swin"])
@pytest.mark.parametrize("form", [of_the_hub, of_the_original])
def test_a_whole_network_comes_through_other_names_as_it_was(
    kind: str, form: Callable[[Tensors], Tensors], tmp_path: Path
) -> None:
    theirs = network(kind, 2)
    tensors = {k: v.contiguous() for k, v in form(theirs.state_dict()).items()}
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path)
    ours = network(kind, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_start(ours, path)
    assert_same(ours, theirs, r"num_batches_tracked|backbone\.body\.(swin\.)?layernorm")
    ours.eval(), theirs.eval()
    with torch.no_grad():
        a, b = ours(torch.rand(1, 1, 64, 64)), theirs(torch.rand(1, 1, 64, 64))
    assert a.classes.shape == b.classes.shape


@pytest.mark.parametrize("prefix", ["", "network."])
def test_a_model_stays_readable_when_the_library_renames_its_parts(prefix: str) -> None:
    theirs, ours = network("swin", 2), network("swin", 1)
    state = theirs.state_dict()
    body_names = {k: v for k, v in state.items() if k.startswith("backbone.body.")}
    short = {k.removeprefix("backbone.body."): v for k, v in body_names.items()}
    # As older versions of the library: other names, and no norm of the classifier.
    old = {f"backbone.body.{k}": v for k, v in renamed(short, OLD_LIBRARY).items()}
    old = {k: v for k, v in old.items() if ".layernorm." not in k}
    old |= {k: v for k, v in state.items() if k not in body_names}
    assert not set(old) >= set(state)
    holder = nn.ModuleDict({"network": ours}) if prefix else ours
    holder.load_state_dict({f"{prefix}{k}": v for k, v in old.items()}, strict=True)
    assert_same(ours, theirs, r"body\.swin\.layernorm\.")


def test_what_has_no_place_in_a_model_is_still_an_error() -> None:
    state = dict(network("swin", 2).state_dict())
    state["backbone.body.swin.extra.weight"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*extra\.weight"):
        network("swin", 1).load_state_dict(state)
    del state["backbone.body.swin.extra.weight"], state["class_predictor.bias"]
    with pytest.raises(RuntimeError, match=r"Missing key.*class_predictor\.bias"):
        network("swin", 1).load_state_dict(state)


def test_the_original_release_is_a_pickle_of_arrays(tmp_path: Path) -> None:
    theirs = network("resnet", 2, classes=80)
    arrays = {k: v.numpy() for k, v in of_the_original(theirs.state_dict()).items()}
    path = tmp_path / "model_final_3c8ec9.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Mask2Former"}, protocol=2))
    ours = network("resnet", 1)
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    with pytest.warns(ReplacedHeadWarning, match=r"knows 80 classes, this model 1: .* anew"):
        load_start(ours, path)
    assert_same(ours, theirs, r"num_batches_tracked|^class_predictor")
    assert torch.equal(
        ours.state_dict()["class_predictor.weight"], before["class_predictor.weight"]
    )


def test_a_whole_network_gives_its_backbone(tmp_path: Path) -> None:
    theirs, ours = network("swin", 2), body("swin", 1)
    load_backbone(ours, of_the_original(theirs.state_dict()), HERE)
    assert_same(ours, theirs.backbone.body, r"layernorm\.(weight|bias)$")


def saved(tensors: Tensors, folder: Path) -> Path:
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "w.safetensors")
    return folder / "w.safetensors"


def test_other_queries_other_backbone_and_no_network_are_refused(tmp_path: Path) -> None:
    path = saved(of_the_hub(network("resnet", 2, queries=9).state_dict()), tmp_path)
    with pytest.raises(DataError, match=r"have 9 queries, the model 7.*queries to 9"):
        load_start(network("resnet", 1), path)
    with pytest.raises(DataError, match="weights are of a ResNet, the backbone is a Swin"):
        load_start(network("swin", 1), path)
    path = saved(body("resnet").state_dict(), tmp_path)
    with pytest.raises(DataError, match=r"no whole Mask2Former.*model\.encoder_weights"):
        load_start(network("resnet", 1), path)


def test_a_key_of_the_decoder_that_finds_no_place_is_named(tmp_path: Path) -> None:
    tensors = of_the_original(network("resnet", 2).state_dict())
    tensors["sem_seg_head.predictor.transformer_ffn_layers.3.linear1.weight"] = torch.zeros(24, 32)
    with pytest.raises(
        DataError, match=r"unexpected sem_seg_head\.predictor\.transformer_ffn_layers\.3"
    ):
        load_start(network("resnet", 1), saved(tensors, tmp_path))


def test_files_of_training_scripts_with_the_model_inside_are_read(tmp_path: Path) -> None:
    tensors = resnet_of_detectron2(body("resnet").state_dict())
    torch.save({"model": tensors}, tmp_path / "w.pth")
    assert set(read_tensors(tmp_path / "w.pth")) == set(tensors)


def test_an_engine_starts_from_a_whole_network_and_its_folder_needs_it_no_more(
    tmp_path: Path,
) -> None:
    options: dict[str, Any] = {
        "backbone": "resnet18", "queries": 7, "hidden": 32, "heads": 4, "ffn": 16, "encoder_ffn": 16,
        "encoder_layers": 1, "decoder_layers": 1, "points": 64,
    }  # fmt: skip
    donor: Any = build_engine("mask2former", (1, 2, 3), options, None)
    tensors = of_the_hub(donor.network.state_dict())
    start = saved(tensors, tmp_path)
    with pytest.warns(ReplacedHeadWarning, match="knows 3 classes, this model 1"):
        engine: Any = build_engine("mask2former", (1,), {**options, "start": str(start)}, None)
    assert_same(engine.network, donor.network, r"num_batches_tracked|class_predictor")
    assert engine.options["start"] is None
    assert (engine.options["frozen_norms"], engine.options["backbone_rate"]) == (True, 0.1)
    save_model(tmp_path / "model", engine, "mask2former", engine.options, {1: "organoid"}, 0.5, {})
    start.unlink()
    again, _ = load_module(tmp_path / "model")
    assert_same(again, engine)


def test_an_engine_takes_a_backbone_by_name_from_a_folder_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"backbone": "resnet18", "queries": 7, "hidden": 32, "heads": 4, "decoder_layers": 1}
    donor: Any = build_engine("mask2former", (1,), options, None)
    tensors = resnet_of_torchvision(donor.network.backbone.body.state_dict())
    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save({k: v for k, v in tensors.items() if not k.startswith("fc")}, path)
    weights = CATALOGUE["resnet18_imagenet"]
    monkeypatch.setitem(CATALOGUE, "resnet18_imagenet", replace(weights, checksum=None))
    monkeypatch.setenv("ORGANOSEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("ORGANOSEG_OFFLINE", "1")
    engine: Any = build_engine("mask2former", (1,), options, "resnet18_imagenet")
    assert_same(engine.network.backbone.body, donor.network.backbone.body)
    with pytest.raises(DataError, match="are not on this computer"):
        build_engine("mask2former", (1,), options, "resnet50_imagenet")
    with pytest.raises(DataError, match=r"weights are of a ResNet, the backbone is a Swin"):
        build_engine("mask2former", (1,), {**options, "backbone": "swin_t"}, "resnet18_imagenet")
