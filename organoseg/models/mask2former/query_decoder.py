"""The forward pass of the query decoder: masked attention, self attention and a small network, nine times.

The parameters are the library's, under the library's names; the pass is written here. A mask is linear in the mask
features, so what the layers need of it (where a query may look, at the size of the next map) comes from features that
were brought to that size once: no mask of the intermediate layers is ever made whole. A test holds both to equal
outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from organoseg.models.mask2former.positions import full, sine_positions


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, heads: int, allowed: Tensor | None
) -> Tensor:
    """Attention of (B, n, C) to (B, m, C); ``allowed`` is bool (B, 1, n, m)."""
    q, k, v = _heads(query, heads), _heads(key, heads), _heads(value, heads)
    seen = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    return seen.transpose(1, 2).flatten(2)


def _layer(
    layer: Any, hidden: Tensor, place: Tensor, memory: Tensor, position: Tensor, allowed: Tensor
) -> Tensor:
    """One block on queries (B, Q, C): attention to the memory (B, cells, C), to each other, a small network."""
    cross = layer.cross_attn
    wq, wk, wv = cross.in_proj_weight.chunk(3)
    bq, bk, bv = cross.in_proj_bias.chunk(3)
    query = F.linear(hidden + place, wq, bq)
    key, value = F.linear(memory + position, wk, bk), F.linear(memory, wv, bv)
    seen = cross.out_proj(_attend(query, key, value, cross.num_heads, allowed))
    hidden = layer.cross_attn_layer_norm(hidden + seen)
    own = layer.self_attn
    asking = hidden + place
    seen = _attend(own.q_proj(asking), own.k_proj(asking), own.v_proj(hidden), own.num_heads, None)
    hidden = layer.self_attn_layer_norm(hidden + own.out_proj(seen))
    inner = layer.fc2(layer.activation_fn(layer.fc1(hidden)))
    return torch.as_tensor(layer.final_layer_norm(hidden + inner))


@torch.no_grad()
def _allowed(embedding: Tensor, features: Tensor) -> Tensor:
    """Where each query may look, bool (B, 1, Q, cells): inside its mask, or everywhere if that is empty."""
    inside = torch.einsum("bqc,bchw->bqhw", embedding, features).flatten(2) >= 0
    return (inside | ~inside.any(2, keepdim=True))[:, None]


def decode_queries(
    transformer: Any, features: Tensor, maps: Sequence[Tensor], checkpointing: bool = False
) -> tuple[Tensor, Tensor]:
    """Queries after the decoder's norm, and their mask embeddings: (layers + 1, B, Q, C) each, the start first.

    Parameters
    ----------
    transformer
        A ``Mask2FormerTransformerModule`` of the library.
    features
        Mask features (B, C, H / 4, W / 4).
    maps
        (B, C, h, w) of strides 32, 16 and 8.
    """
    decoder = transformer.decoder
    batch = features.shape[0]
    memory, position, small = [], [], []
    for i, each in enumerate(maps):
        cells = transformer.input_projections[i](each).flatten(2).transpose(1, 2)
        memory.append(cells + transformer.level_embed.weight[i])
        height, width = each.shape[2:]
        position.append(sine_positions(height, width, cells.shape[2], cells.device))
        with torch.no_grad():
            small.append(
                F.interpolate(
                    full(features.detach()), (height, width), mode="bilinear", align_corners=False
                )
            )
    hidden = transformer.queries_features.weight.expand(batch, -1, -1)
    place = transformer.queries_embedder.weight.expand(batch, -1, -1)
    states = [decoder.layernorm(hidden)]
    embeddings = [decoder.mask_predictor.mask_embedder(states[0])]
    for number, layer in enumerate(decoder.layers):
        level = number % len(maps)
        allowed = _allowed(embeddings[-1].detach(), small[level])
        inputs = (layer, hidden, place, memory[level], position[level], allowed)
        if checkpointing and torch.is_grad_enabled():
            hidden = checkpoint(_layer, *inputs, use_reentrant=False)
        else:
            hidden = _layer(*inputs)
        states.append(decoder.layernorm(hidden))
        embeddings.append(decoder.mask_predictor.mask_embedder(states[-1]))
    return torch.stack(states), torch.stack(embeddings)
