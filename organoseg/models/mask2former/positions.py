"""Where a cell lies, as sines: both decoders add it to their features.

Kept for the sizes seen last: a training run sees one, and making them anew would have the processor wait for the
device in every layer. Nobody writes into them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """Half precision, as autocast leaves it, to float32; everything else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


@lru_cache(maxsize=32)
def sine_positions(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """float32 (height * width, channels): rows in the first half of the channels, columns in the second.

    Normalised to the map's size, temperature 10 000, sine and cosine in turn (Carion et al. 2020). Always float32: in
    bfloat16 neighbouring cells of a large map would have one position.
    """
    half = channels // 2
    exponent = 2 * (torch.arange(half, device=device) // 2) / half
    wavelength = 10000.0**exponent
    parts = []
    for count in (height, width):
        place = torch.arange(1, count + 1, device=device, dtype=torch.float32)
        angle = (place / (count + 1e-6) * (2 * math.pi))[:, None] / wavelength
        parts.append(torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), 2).flatten(1))
    rows = parts[0][:, None, :].expand(height, width, half)
    columns = parts[1][None, :, :].expand(height, width, half)
    return torch.cat((rows, columns), 2).reshape(height * width, channels)


@lru_cache(maxsize=32)
def centres(shapes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Centres (x, y) in 0 to 1 of the cells of several maps, float32 (cells, 2)."""
    parts = []
    for height, width in shapes:
        y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        grid = torch.stack((x[None, :].expand(height, width), y[:, None].expand(height, width)), 2)
        parts.append(grid.reshape(-1, 2))
    return torch.cat(parts)


@lru_cache(maxsize=32)
def sides(shapes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Width and height of several maps in cells, float32 (maps, 2)."""
    return torch.tensor([[w, h] for h, w in shapes], device=device, dtype=torch.float32)
