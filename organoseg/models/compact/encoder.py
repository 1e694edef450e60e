"""MobileNetV2 encoder for grey images, batch normalisation folded away.

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", table 2. Folding the
normalisation into the convolutions makes the encoder free of batch statistics, so batches of two and a
teacher that averages weights need no special care.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# (expansion, channels, repeats, stride) of each stage, table 2 of the paper.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
#: Index of the block whose output is the feature at stride 2, 4, 8, 16, 32, and its channels.
TAPS = {2: (0, 16), 4: (2, 24), 8: (5, 32), 16: (12, 96), 32: (16, 320)}

#: Where padding goes in stride-2 convolutions: weights trained with TensorFlow pad behind only.
Padding = Literal["tensorflow", "symmetric"]


class PaddedConv(nn.Conv2d):
    """3x3 convolution whose stride-2 padding follows the framework its weights were trained in."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, groups: int, padding: Padding
    ) -> None:
        behind_only = stride == 2 and padding == "tensorflow"
        super().__init__(inputs, outputs, 3, stride, 0 if behind_only else 1, groups=groups)
        self.behind_only = behind_only

    def forward(self, x: Tensor) -> Tensor:
        if self.behind_only:
            x = F.pad(x, (0, 1, 0, 1))
        return super().forward(x)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1; a residual where the shapes allow it."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, expansion: int, padding: Padding
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(nn.Conv2d(inputs, hidden, 1))
        layers.append(PaddedConv(hidden, hidden, stride, hidden, padding))
        layers.append(nn.Conv2d(hidden, outputs, 1))
        self.layers = nn.ModuleList(layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers[:-1]:
            y = F.relu6(layer(y), inplace=True)
        y = self.layers[-1](y)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Features at strides 2 to 32 of a grey image.

    Parameters
    ----------
    padding
        Convention of the weights that will be loaded.
    frozen_blocks
        The stem and this many first blocks are not trained: few labels cannot improve edge filters, and
        their gradients are the dearest ones to compute.
    """

    def __init__(self, padding: Padding = "tensorflow", frozen_blocks: int = 3) -> None:
        super().__init__()
        self.stem = PaddedConv(1, 32, 2, 1, padding)
        blocks: list[nn.Module] = []
        channels = 32
        for expansion, outputs, repeats, stride in STAGES:
            for i in range(repeats):
                step = stride if i == 0 else 1
                blocks.append(InvertedResidual(channels, outputs, step, expansion, padding))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.frozen_blocks = frozen_blocks
        if frozen_blocks:
            for module in (self.stem, *self.blocks[:frozen_blocks]):
                module.requires_grad_(False)
        self._initialise()

    def _initialise(self) -> None:
        # Without normalisation layers the signal must keep its size by itself, residuals included.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in self.modules():
            if isinstance(block, InvertedResidual) and block.residual:
                block.layers[-1].get_parameter("weight").data.mul_(0.2)

    def _run(
        self, blocks: Iterator[tuple[int, nn.Module]], x: Tensor, taps: dict[int, Tensor]
    ) -> Tensor:
        wanted = {index: stride for stride, (index, _) in TAPS.items()}
        for index, block in blocks:
            x = block(x)
            if index in wanted:
                taps[wanted[index]] = x
        return x

    def forward(self, pixels: Tensor) -> dict[int, Tensor]:
        """(B, 1, H, W) to a feature map a stride: ``{2: (B, 16, H/2, W/2), ..., 32: ...}``."""
        taps: dict[int, Tensor] = {}
        pairs = list(enumerate(self.blocks))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_blocks):
            x = F.relu6(self.stem(pixels))
            x = self._run(iter(pairs[: self.frozen_blocks]), x, taps)
        self._run(iter(pairs[self.frozen_blocks :]), x, taps)
        return taps
