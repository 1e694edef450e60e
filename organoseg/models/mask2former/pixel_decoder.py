"""The forward pass of the pixel decoder: deformable attention over three scales, then one step up.

The parameters are the library's, under the library's names; the pass is written here. It asks the device nothing
(the library looks for infinities in every layer, and the processor waits for each answer) and computes places in
float32 under autocast. A test holds both to equal outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from organoseg.models.mask2former.positions import centres, full, sides, sine_positions

Shape = tuple[int, int]


def _sampled(value: Tensor, shapes: Sequence[Shape], places: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of features at places.

    value (B, cells, heads, c); places (B, n, heads, levels, points, 2) in 0 to 1; weights (B, n, heads, levels *
    points); gives (B, n, heads * c).
    """
    batch, _, heads, c = value.shape
    n, points = places.shape[1], places.shape[4]
    grid = (2 * places - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)
    taken = []
    for level, part in enumerate(value.split([h * w for h, w in shapes], 1)):
        height, width = shapes[level]
        plane = part.permute(0, 2, 3, 1).reshape(batch * heads, c, height, width)
        taken.append(F.grid_sample(plane, grid[level].to(plane.dtype), align_corners=False))
    share = weights.transpose(1, 2).reshape(batch * heads, 1, n, len(shapes) * points)
    total = (torch.cat(taken, 3) * share).sum(3)
    return total.view(batch, heads * c, n).transpose(1, 2)


def _attention(
    layer: Any, hidden: Tensor, position: Tensor, reference: Tensor, shapes: Sequence[Shape]
) -> Tensor:
    batch, n, width = hidden.shape
    heads, levels, points = layer.n_heads, layer.n_levels, layer.n_points
    asking = hidden + position
    value = layer.value_proj(hidden).view(batch, n, heads, width // heads)
    offsets = full(layer.sampling_offsets(asking))
    offsets = offsets.view(batch, n, heads, levels, points, 2)
    size = sides(tuple(shapes), hidden.device)
    places = reference[None, :, None, None, None, :] + offsets / size[None, None, None, :, None, :]
    weights = layer.attention_weights(asking).view(batch, n, heads, levels * points)
    weights = full(weights).softmax(-1)
    value = full(value)  # interpolation in bfloat16 would round the places
    return torch.as_tensor(layer.output_proj(_sampled(value, shapes, places, weights)))


def _layer(
    layer: Any, hidden: Tensor, position: Tensor, reference: Tensor, shapes: Sequence[Shape]
) -> Tensor:
    seen = _attention(layer.self_attn, hidden, position, reference, shapes)
    hidden = layer.self_attn_layer_norm(hidden + seen)
    inner = layer.fc2(F.relu(layer.fc1(hidden)))
    return torch.as_tensor(layer.final_layer_norm(hidden + inner))


def decode_pixels(
    decoder: Any, maps: Sequence[Tensor], checkpointing: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Mask features (B, C, H / 4, W / 4), and maps (B, C, h, w) of strides 32, 16 and 8.

    Parameters
    ----------
    decoder
        A ``Mask2FormerPixelDecoder`` of the library.
    maps
        The backbone's, finest first.
    """
    coarse = [full(m) for m in maps[:0:-1]]
    inputs = [p(m) for p, m in zip(decoder.input_projections, coarse, strict=True)]
    shapes = [(m.shape[2], m.shape[3]) for m in inputs]
    hidden = torch.cat([m.flatten(2).transpose(1, 2) for m in inputs], 1)
    device, channels = hidden.device, hidden.shape[2]
    position = torch.cat(
        [
            sine_positions(h, w, channels, device) + decoder.level_embed[i]
            for i, (h, w) in enumerate(shapes)
        ]
    )
    reference = centres(tuple(shapes), device)
    for layer in decoder.encoder.layers:
        if checkpointing and torch.is_grad_enabled():
            hidden = checkpoint(
                _layer, layer, hidden, position, reference, shapes, use_reentrant=False
            )
        else:
            hidden = _layer(layer, hidden, position, reference, shapes)
    parts = hidden.split([h * w for h, w in shapes], 1)
    outputs = [
        p.transpose(1, 2).reshape(p.shape[0], channels, *shape)
        for p, shape in zip(parts, shapes, strict=True)
    ]
    # One step of a feature pyramid, to stride 4.
    lateral = decoder.adapter_1(full(maps[0]))
    finer = F.interpolate(
        full(outputs[-1]), lateral.shape[-2:], mode="bilinear", align_corners=False
    )
    features = decoder.mask_projection(decoder.layer_1(lateral + finer))
    return features, outputs
