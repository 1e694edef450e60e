"""Feature pyramid, shared heads and mask features of the compact engine.

One location of a pyramid level speaks for one organoid: it gives a detection score and the weights of a
tiny network of its own, which draws the organoid's mask from shared mask features (Tian et al. 2020,
"Conditional Convolutions for Instance Segmentation", section 3). Masks of neighbouring locations know
nothing of each other, so they may overlap and need not be convex.

Everything is scale-equivariant by construction: the level of stride s reads mask features at stride s/4
in a window of 64 x 64 cells, and its head is the same head as every other level's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from organoseg.models.compact.encoder import TAPS, MobileNetV2, Padding
from organoseg.models.compact.layout import (
    DYNAMIC_PARAMETERS,
    FINER,
    LAYERS,
    LEVELS,
    MASK_CHANNELS,
    WINDOW,
)

#: Locations that draw at once where no gradient is wanted.
AT_ONCE = 16


class ConvNormAct(nn.Sequential):
    """Convolution, group normalisation (independent of batch size) and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, groups: int = 8) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
            nn.GroupNorm(groups, outputs),
            nn.ReLU(inplace=True),
        )


class CompactNetwork(nn.Module):
    """Encoder, pyramid and heads; about 2 M parameters.

    Parameters
    ----------
    classes
        Number of classes; the score map has one channel a class.
    width
        Channels of the pyramid.
    """

    def __init__(
        self,
        classes: int = 1,
        width: int = 64,
        padding: Padding = "tensorflow",
        frozen_blocks: int = 3,
    ) -> None:
        super().__init__()
        self.encoder = MobileNetV2(padding, frozen_blocks)
        self.lateral = nn.ModuleDict(
            {str(s): nn.Conv2d(TAPS[s][1], width, 1) for s in (4, 8, 16, 32)}
        )
        self.smooth = nn.ModuleDict({str(s): ConvNormAct(width, width) for s in (4, 8, 16, 32)})
        self.head = nn.Sequential(ConvNormAct(width, width), ConvNormAct(width, width))
        self.score = nn.Conv2d(width, classes, 1)
        self.controller = nn.Linear(width, DYNAMIC_PARAMETERS)
        self.fine = ConvNormAct(TAPS[2][1] + width // 2, 32, 3)
        self.squeeze = ConvNormAct(width, width // 2, 1)
        masks = {"2": nn.Conv2d(32, MASK_CHANNELS, 1)}
        for s in (4, 8):
            masks[str(s)] = nn.Conv2d(width, MASK_CHANNELS, 1)
        self.masks = nn.ModuleDict(masks)
        nn.init.constant_(
            self.score.get_parameter("bias"), -4.0
        )  # organoid centres are rare: start near p = 0.02
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.normal_(self.controller.weight, std=0.03)
        nn.init.zeros_(self.controller.bias)

    def forward(
        self, pixels: Tensor
    ) -> tuple[dict[int, Tensor], dict[int, Tensor], dict[int, Tensor]]:
        """Score logits and head features a level, and mask features a level.

        Parameters
        ----------
        pixels
            float (B, 1, H, W), H and W multiples of 32.

        Returns
        -------
        scores
            ``{s: (B, classes, H/s, W/s)}`` logits.
        features
            ``{s: (B, width, H/s, W/s)}``, the input of :attr:`controller`.
        masks
            ``{s: (B, 8, 4H/s, 4W/s)}`` mask features for level s.
        """
        taps = self.encoder(pixels)
        merged = self.lateral["32"](taps[32])
        pyramid = {32: merged}
        for stride in (16, 8, 4):
            up = F.interpolate(merged, scale_factor=2.0, mode="nearest")
            merged = self.lateral[str(stride)](taps[stride]) + up
            pyramid[stride] = merged
        smooth = {s: self.smooth[str(s)](p) for s, p in pyramid.items()}
        features = {s: self.head(smooth[s]) for s in LEVELS}
        scores = {s: self.score(f) for s, f in features.items()}
        coarse = F.interpolate(self.squeeze(smooth[4]), scale_factor=2.0, mode="nearest")
        fine = self.fine(torch.cat([taps[2], coarse], 1))
        masks = {
            8: self.masks["2"](fine),
            16: self.masks["4"](smooth[4]),
            32: self.masks["8"](smooth[8]),
        }
        return scores, features, masks


class _Windows(torch.autograd.Function):
    """Cut K windows out of padded feature maps; indexing would scatter gradients through full-size copies."""

    @staticmethod
    def forward(ctx, padded: Tensor, places: list[tuple[int, int, int]]) -> Tensor:  # type: ignore[no-untyped-def]
        """Windows (K, C, 64, 64) at K places (image, top, left)."""
        ctx.shape, ctx.places = padded.shape, places
        out = padded.new_empty((len(places), padded.shape[1], WINDOW, WINDOW))
        for k, (b, y, x) in enumerate(ctx.places):
            out[k] = padded[b, :, y : y + WINDOW, x : x + WINDOW]
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
        total = gradient.new_zeros(ctx.shape)
        for k, (b, y, x) in enumerate(ctx.places):
            total[b, :, y : y + WINDOW, x : x + WINDOW] += gradient[k]
        return total, None


def _coordinates(device: torch.device, dtype: torch.dtype) -> Tensor:
    # The location sits at the centre of its window; +-2 spans it, which suits a ReLU network of width 8.
    axis = (torch.arange(WINDOW, device=device, dtype=dtype) + 0.5) / WINDOW * 4 - 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([y, x]).reshape(2, -1)


def _dynamic(x: Tensor, parameters: Tensor) -> Tensor:
    """The K tiny networks, each on its own window: (K, 10, cells) to (K, 1, cells)."""
    k, start = x.shape[0], 0
    for inputs, outputs in LAYERS:
        weight = parameters[:, start : start + inputs * outputs].view(k, outputs, inputs)
        start += inputs * outputs
        bias = parameters[:, start : start + outputs].unsqueeze(2)
        start += outputs
        x = torch.baddbmm(bias, weight, x)
        if outputs != 1:
            x = F.relu(x, inplace=not torch.is_grad_enabled())
    return x


def draw_masks(
    features: Tensor, parameters: Tensor, image: Tensor, row: Tensor, column: Tensor
) -> Tensor:
    """Mask logits of K locations of one level, each in its own window.

    Parameters
    ----------
    features
        (B, 8, h, w) mask features of the level.
    parameters
        (K, 169) output of the controller at the locations.
    image, row, column
        int64 (K,): which image, and the location's cell in the level's map.

    Returns
    -------
    Tensor
        (K, 64, 64) logits. Cell (i, j) is the feature cell (4 row + 2 - 32 + i, 4 column + 2 - 32 + j).
    """
    half = WINDOW // 2
    padded = F.pad(features, (half, half, half, half))
    middle = FINER // 2
    top = (row * FINER + middle).tolist()
    left = (column * FINER + middle).tolist()
    places = list(zip(image.tolist(), top, left, strict=True))
    if torch.is_grad_enabled():
        return _draw(padded, parameters, places)
    # What fits into the processor's cache is drawn at once.
    return torch.cat(
        [
            _draw(padded, parameters[start : start + AT_ONCE], places[start : start + AT_ONCE])
            for start in range(0, len(places), AT_ONCE)
        ]
        or [parameters.new_zeros((0, WINDOW, WINDOW))]
    )


def _draw(padded: Tensor, parameters: Tensor, places: list[tuple[int, int, int]]) -> Tensor:
    # In bfloat16 neighbouring coordinates would coincide and edges blur: this small part stays exact.
    windows = _Windows.apply(padded, places).flatten(2).float()
    place = _coordinates(windows.device, windows.dtype).expand(len(places), -1, -1)
    x = torch.cat([windows, place], 1)
    with torch.autocast(x.device.type, enabled=False):
        x = _dynamic(x, parameters.float())
    return x.view(-1, WINDOW, WINDOW)
