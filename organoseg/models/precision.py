"""Which number format a device computes in: bfloat16 where it is native, float32 elsewhere."""

from __future__ import annotations

from typing import Literal

import torch

from organoseg.core import UsageError

Precision = Literal["auto", "fp32", "bf16"]


def computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively; elsewhere it would be slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # torch has no public question for this; where these are missing, float32 is the safe answer.
    vector = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    matrix = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(vector and vector()) or bool(matrix and matrix())


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16.

    Raises
    ------
    UsageError
        ``precision`` is none of auto, fp32, bf16.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise UsageError(
            f"unknown precision {precision!r}", where="precision", remedy="Use auto, fp32 or bf16."
        )
    return computes_bf16(device) if precision == "auto" else precision == "bf16"


def training_precision(precision: str, device: torch.device) -> Literal["no", "bf16", "fp16"]:
    """The word accelerate has for the number format of a training.

    Raises
    ------
    UsageError
        ``precision`` is unknown, or fp16 is asked of something that is no GPU of Nvidia or AMD.
    """
    if precision == "fp16":
        if device.type != "cuda":
            raise UsageError(
                f"fp16 is for GPUs, and this run computes on {device.type}",
                where="training.precision",
                remedy="Use auto, fp32 or bf16.",
            )
        return "fp16"
    return "bf16" if use_bf16(precision, device) else "no"
