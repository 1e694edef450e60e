"""Where a cell lies, as sines: both decoders add it to their features."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """Half precision, as autocast leaves it, to float32; everything else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


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
