"""The last layers of the mask heads: where they begin, and in which number format they answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

#: What detectron2 and PointRend call them.
LAST = ("predictor", "prediction")


def _last_layers(heads: Any) -> Iterator[nn.Module]:
    for name, module in heads.mask_head.named_modules():
        if name.rpartition(".")[2] in LAST:
            yield module


def _as_float(module: nn.Module, inputs: Any, found: Tensor) -> Tensor:
    return found.float()


def answer_exactly(heads: Any) -> None:
    """Have mask logits leave their layer as float32, whatever it computes in.

    A cell is drawn where its probability is a half or more, and bfloat16 takes everything from .498 on for a half. A
    network of few steps calls the background of a box .4996: in bfloat16 all of the box would be organoid.
    """
    for layer in _last_layers(heads):
        layer.register_forward_hook(_as_float)


def begin_wide(heads: Any) -> None:
    """Begin mask layers with logits of about 1 to either side, where no weights are loaded into them.

    detectron2 begins at a thousandth of that, for long schedules of SGD. AdamW moves every weight by the same small
    steps; as most cells of a box are organoid, the first hundred of them make all weights positive, and then nothing
    can be called background by more than a hair.
    """
    for layer in _last_layers(heads):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")  # type: ignore[arg-type]
