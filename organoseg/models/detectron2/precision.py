"""What must stay float32 where a network computes in bfloat16: where things lie."""

from __future__ import annotations

from torch import Tensor


def exact(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Feature maps as float32, so that regions are cut out of them where they lie.

    detectron2 cuts with boxes in the number format of the maps. In bfloat16 that leaves a place of 100 px half a pixel
    to choose from, and one of 1000 px four: regions are learned from and drawn beside where they are.
    Convolutions and linear layers after it compute in bfloat16 all the same.
    """
    return {name: values.float() for name, values in features.items()}
