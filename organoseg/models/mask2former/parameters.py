"""What trains, how fast, and what decays."""

from __future__ import annotations

from typing import Any

from torch import nn

from organoseg.models.mask2former.network import Mask2FormerNetwork

#: Tables of positions and single tokens, which stand for embeddings: parts of parameters' names.
TABLES = (
    "relative_position_bias_table",
    "position_embeddings",
    "cls_token",
    "mask_token",
    "register_tokens",
)
#: Kinds of layers whose parameters do not decay, by the name of their class: the library has its own layer norms.
_KINDS = ("Norm", "Embedding")


def _decays(kind: str, name: str) -> bool:
    return not (any(k in kind for k in _KINDS) or any(t in name for t in TABLES))


def parameter_groups(
    network: Mask2FormerNetwork, learning_rate: float, weight_decay: float, backbone_rate: float
) -> list[dict[str, Any]]:
    """Groups for AdamW: the backbone's body at ``backbone_rate`` times the rate, no decay for norms and tables.

    Biases decay, as in the paper's own code. Parameters without gradients are left out.
    """
    body = {id(p) for p in network.backbone.body.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for module in network.modules():
        for name, p in module.named_parameters(recurse=False):
            if p.requires_grad:
                key = (id(p) in body, _decays(type(module).__name__, name))
                groups.setdefault(key, []).append(p)
    return [
        {
            "params": parameters,
            "lr": learning_rate * (backbone_rate if slow else 1.0),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (slow, decays), parameters in groups.items()
    ]
