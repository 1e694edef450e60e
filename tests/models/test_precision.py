"""bfloat16 only where it was asked for, or where it pays."""

import pytest
import torch

from organoseg.core import UsageError
from organoseg.models import precision

CPU = torch.device("cpu")


def test_what_was_asked_for_is_done() -> None:
    assert precision.use_bf16("bf16", CPU)
    assert not precision.use_bf16("fp32", CPU)


@pytest.mark.parametrize("capable", [True, False])
def test_auto_follows_the_device(monkeypatch: pytest.MonkeyPatch, capable: bool) -> None:
    monkeypatch.setattr(precision, "computes_bf16", lambda device: capable)
    assert precision.use_bf16("auto", CPU) is capable


def test_a_torch_that_cannot_tell_means_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not precision.computes_bf16(CPU)


def test_another_word_is_refused() -> None:
    with pytest.raises(UsageError, match="half"):
        precision.use_bf16("half", CPU)
