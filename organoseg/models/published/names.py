"""One set of names for the parameters of a network, whatever its file or its library calls them.

The same ResNet, Swin, ConvNeXt, DINOv2 or Mask2Former is published under several sets of names, and `transformers` has
renamed its own parameters between versions, so that neither a file's names nor a module's can be taken as fixed. Both
are brought to the names below, and meet there. Sources: the state dicts of torchvision and timm, of the hub's files,
of detectron2 and of the original Mask2Former.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

Value = TypeVar("Value")
Rule = tuple[str, str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class Family:
    """How the parameters of one kind of backbone are called.

    Parameters
    ----------
    name
        For people.
    signs
        Expressions; a set of names in which one of them is found belongs to the family.
    rules
        Applied one after another to every name.
    ignored
        What other tasks need (classifiers) and what is computed, not learnt (index tables).
    optional
        May be absent from a file: counters, norms that begin as the identity, what no output depends on.
    """

    name: str
    signs: tuple[str, ...]
    rules: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    _patterns: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = field(
        init=False, repr=False, compare=False, default_factory=list
    )

    def __post_init__(self) -> None:
        self._patterns.extend((re.compile(p), r) for p, r in self.rules)

    def common(self, name: str) -> str | None:
        """The common name of a parameter; None for one that is of no use here."""
        for pattern, replacement in self._patterns:
            name = pattern.sub(replacement, name)
        return None if any(re.search(p, name) for p in self.ignored) else name

    def may_lack(self, common: str) -> bool:
        """Whether a file may do without the parameter of this common name."""
        return any(re.search(p, common) for p in self.optional)


def _less(text: str, groups: Mapping[int, int]) -> Callable[[re.Match[str]], str]:
    """A replacement in which numbers are made smaller: group -> by how much."""

    def replace(match: re.Match[str]) -> str:
        values = [int(g) - groups[i] if i in groups else g for i, g in enumerate(match.groups(), 1)]
        return text.format(*values)

    return replace


RESNET = Family(
    "ResNet",
    (
        r"embedder\.embedder\.(convolution|normalization)",
        r"layer4\.0\.conv1\.weight",
        r"res5\.0\.conv1\.weight",
    ),
    (
        (r"^(module\.|resnet\.|backbone\.)+", ""),
        # torchvision, timm
        (r"^conv1\.", "embedder.embedder.convolution."),
        (r"^bn1\.", "embedder.embedder.normalization."),
        (r"^layer(\d)\.", _less("encoder.stages.{}.layers.", {1: 1})),
        # detectron2
        (r"^stem\.conv1\.norm\.", "embedder.embedder.normalization."),
        (r"^stem\.conv1\.", "embedder.embedder.convolution."),
        (r"^res(\d)\.", _less("encoder.stages.{}.layers.", {1: 2})),
        (r"\.shortcut\.norm\.", ".shortcut.normalization."),
        (r"\.shortcut\.weight$", ".shortcut.convolution.weight"),
        (r"\.conv(\d)\.norm\.", _less(".layer.{}.normalization.", {1: 1})),
        # both
        (r"\.conv(\d)\.", _less(".layer.{}.convolution.", {1: 1})),
        (r"\.bn(\d)\.", _less(".layer.{}.normalization.", {1: 1})),
        (r"\.downsample\.0\.", ".shortcut.convolution."),
        (r"\.downsample\.1\.", ".shortcut.normalization."),
    ),
    ignored=(r"^fc\.", r"^classifier\.", r"^linear\."),
    optional=(r"num_batches_tracked$",),
)

SWIN = Family(
    "Swin transformer",
    (r"relative_position_bias_table",),
    (
        (r"^(module\.|backbone\.|model\.)+", ""),
        (r"^swin\.", ""),
        # torchvision: stages are the odd members of a list, what merges patches the even ones
        (r"^features\.0\.0\.", "embeddings.patch_embeddings.projection."),
        (r"^features\.0\.2\.", "embeddings.norm."),
        (r"^features\.([246])\.", lambda m: f"encoder.layers.{int(m[1]) // 2 - 1}.downsample."),
        (r"^features\.([1357])\.(\d+)\.", lambda m: f"layers.{int(m[1]) // 2}.blocks.{m[2]}."),
        (r"\.mlp\.0\.", ".mlp.fc1."),
        (r"\.mlp\.3\.", ".mlp.fc2."),
        # Microsoft, Mask2Former, timm
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
        (r"^patch_embed\.norm\.", "embeddings.norm."),
        (r"^layers\.", "encoder.layers."),
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.attn\.", ".attention."),
        (r"\.attention\.proj\.", ".attention.o_proj."),
        (r"^norm(\d)\.", lambda m: f"hidden_states_norms.stage{int(m[1]) + 1}."),
        (r"^norm\.", "layernorm."),
        # transformers before it renamed them
        (r"\.attention\.self\.query\.", ".attention.q_proj."),
        (r"\.attention\.self\.key\.", ".attention.k_proj."),
        (r"\.attention\.self\.value\.", ".attention.v_proj."),
        (r"\.attention\.output\.dense\.", ".attention.o_proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
        (r"\.(self|relative_position_bias)\.relative_position_", ".relative_position_"),
    ),
    ignored=(
        r"relative_position_index$",
        r"attn_mask$",
        r"^head\.",
        r"^classifier\.",
        r"^pooler\.",
    ),
    # The norms of the four outputs are Mask2Former's; ImageNet's weights have one for the last.
    optional=(r"^hidden_states_norms\.", r"^layernorm\."),
)

CONVNEXT = Family(
    "ConvNeXt",
    (r"dwconv\.weight", r"depthwise_conv\.weight", r"features\.1\.0\.layer_scale"),
    (
        (r"^(module\.|backbone\.)+", ""),
        (r"^convnext\.", ""),
        # torchvision
        (r"^features\.0\.0\.", "embeddings.patch_embeddings."),
        (r"^features\.0\.1\.", "embeddings.layernorm."),
        (r"^features\.([246])\.", lambda m: f"encoder.stages.{int(m[1]) // 2}.downsampling_layer."),
        (r"^features\.([1357])\.", lambda m: f"encoder.stages.{int(m[1]) // 2}.layers."),
        (r"\.block\.0\.", ".dwconv."),
        (r"\.block\.2\.", ".layernorm."),
        (r"\.block\.3\.", ".pwconv1."),
        (r"\.block\.5\.", ".pwconv2."),
        (r"\.layer_scale$", ".layer_scale_parameter"),
        # DINOv3's
        (r"^(model\.)?stages\.", "stages."),
        (r"^(model\.)?layer_norm\.", "layer_norm."),
    ),
    ignored=(r"^classifier\.", r"^layernorm\."),
    optional=(r"^hidden_states_norms\.", r"^layer_norm\."),
)

DINOV2 = Family(
    "DINOv2",
    (r"^(dinov2\.|backbone\.)?embeddings\.position_embeddings$", r"^pos_embed$"),
    (
        (r"^(module\.|backbone\.|dinov2\.)+", ""),
        # Meta's own
        (r"^cls_token$", "embeddings.cls_token"),
        (r"^mask_token$", "embeddings.mask_token"),
        (r"^pos_embed$", "embeddings.position_embeddings"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
        (r"^blocks\.", "encoder.layer."),
        (r"\.attn\.", ".attention."),
        (r"\.attention\.proj\.", ".attention.o_proj."),
        (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
        (r"^norm\.", "layernorm."),
        # transformers before it renamed them
        (r"\.attention\.attention\.query\.", ".attention.q_proj."),
        (r"\.attention\.attention\.key\.", ".attention.k_proj."),
        (r"\.attention\.attention\.value\.", ".attention.v_proj."),
        (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    ),
    ignored=(r"^head\.", r"^classifier\."),
)

DINOV3 = Family(
    "DINOv3",
    (r"embeddings\.register_tokens$",),
    (
        (r"^(module\.|backbone\.)+", ""),
        (r"^(dinov3_vit\.|model\.)+", ""),
    ),
    ignored=(r"rope_embeddings", r"^head\.", r"^classifier\."),
)

FAMILIES = (RESNET, DINOV3, DINOV2, SWIN, CONVNEXT)


def family_of(names: Mapping[str, object]) -> Family | None:
    """The family that a file's or a module's names belong to."""
    for family in FAMILIES:
        signs = [re.compile(sign) for sign in family.signs]
        if any(sign.search(name) for name in names for sign in signs):
            return family
    return None


_FUSED = re.compile(r"(.*)\.(?:qkv\.|in_proj_)(weight|bias)")
#: torch's own attention layer keeps the three together in both.
_KEPT = re.compile(r"cross_attn|multihead_attn")


def split_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Projections to query, key and value that a file keeps in one tensor, each by itself."""
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        match = _FUSED.fullmatch(name)
        if match is None or _KEPT.search(name) or tensor.ndim == 0 or len(tensor) % 3:
            apart[name] = tensor
            continue
        for part, third in zip("qkv", tensor.chunk(3), strict=True):
            apart[f"{match[1]}.{part}_proj.{match[2]}"] = third
    return apart


#: Where the three parts of a Mask2Former lie in a file of the hub and in our network, and their common places.
_WHOLE: tuple[Rule, ...] = (
    (r"^(module\.|network\.)+", ""),
    (r"^(model\.)?pixel_level_module\.encoder\.(model\.(?=embeddings|encoder))?", "backbone."),
    (r"^(model\.)?pixel_level_module\.decoder\.", "pixel."),
    (r"^(model\.)?transformer_module\.", "queries."),
    (r"^backbone\.body\.", "backbone."),
    (r"^pixel_decoder\.", "pixel."),
    (r"^transformer\.", "queries."),
    # The original's pixel decoder (MSDeformAttnPixelDecoder)
    (r"^sem_seg_head\.pixel_decoder\.transformer\.", "pixel."),
    (r"^sem_seg_head\.pixel_decoder\.", "pixel."),
    (r"^pixel\.input_proj\.", "pixel.input_projections."),
    (r"^pixel\.mask_features\.", "pixel.mask_projection."),
    (r"^pixel\.(adapter|layer)_(\d)\.norm\.", r"pixel.\1_\2.1."),
    (r"^pixel\.(adapter|layer)_(\d)\.(weight|bias)$", r"pixel.\1_\2.0.\3"),
    (r"^(pixel\.encoder\.layers\.\d+)\.linear(\d)\.", r"\1.fc\2."),
    (r"^(pixel\.encoder\.layers\.\d+)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"^(pixel\.encoder\.layers\.\d+)\.norm2\.", r"\1.final_layer_norm."),
    # The original's query decoder (MultiScaleMaskedTransformerDecoder)
    (r"^sem_seg_head\.predictor\.class_embed\.", "class_predictor."),
    (r"^sem_seg_head\.predictor\.(static_query|query_feat)\.", "queries.queries_features."),
    (r"^sem_seg_head\.predictor\.query_embed\.", "queries.queries_embedder."),
    (r"^sem_seg_head\.predictor\.level_embed\.", "queries.level_embed."),
    (r"^sem_seg_head\.predictor\.input_proj\.", "queries.input_projections."),
    (r"^sem_seg_head\.predictor\.decoder_norm\.", "queries.decoder.layernorm."),
    (
        r"^sem_seg_head\.predictor\.mask_embed\.layers\.(\d)\.",
        r"queries.decoder.mask_predictor.mask_embedder.\1.0.",
    ),
    (
        r"^sem_seg_head\.predictor\.transformer_self_attention_layers\.(\d+)\.norm\.",
        r"queries.decoder.layers.\1.self_attn_layer_norm.",
    ),
    (
        r"^sem_seg_head\.predictor\.transformer_self_attention_layers\.(\d+)\.",
        r"queries.decoder.layers.\1.",
    ),
    (
        r"^sem_seg_head\.predictor\.transformer_cross_attention_layers\.(\d+)\.norm\.",
        r"queries.decoder.layers.\1.cross_attn_layer_norm.",
    ),
    (
        r"^sem_seg_head\.predictor\.transformer_cross_attention_layers\.(\d+)\.multihead_attn\.",
        r"queries.decoder.layers.\1.cross_attn.",
    ),
    (
        r"^sem_seg_head\.predictor\.transformer_ffn_layers\.(\d+)\.norm\.",
        r"queries.decoder.layers.\1.final_layer_norm.",
    ),
    (
        r"^sem_seg_head\.predictor\.transformer_ffn_layers\.(\d+)\.linear(\d)\.",
        r"queries.decoder.layers.\1.fc\2.",
    ),
)
_WHOLE_PATTERNS = tuple((re.compile(p), r) for p, r in _WHOLE)
_WHOLE_IGNORED = re.compile(r"^(criterion\.|pixel_mean$|pixel_std$)")


def is_whole(names: Mapping[str, object]) -> bool:
    """Whether the names are those of a whole Mask2Former."""
    return any(
        re.search(r"queries_features|predictor\.(static_query|query_feat)\.", n) for n in names
    )


def backbone_part(names: Mapping[str, Value]) -> dict[str, Value]:
    """What a whole Mask2Former holds of its backbone."""
    part = {}
    for name, value in names.items():
        for pattern, replacement in _WHOLE_PATTERNS:
            name = pattern.sub(replacement, name)
        if name.startswith("backbone."):
            part[name.removeprefix("backbone.")] = value
    return part


def common_whole(name: str, family: Family) -> str | None:
    """The common name of a parameter of a whole Mask2Former; None for one that is of no use here."""
    for pattern, replacement in _WHOLE_PATTERNS:
        name = pattern.sub(replacement, name)
    if _WHOLE_IGNORED.search(name):
        return None
    if name.startswith("backbone."):
        common = family.common(name.removeprefix("backbone."))
        return None if common is None else f"backbone.{common}"
    return name
