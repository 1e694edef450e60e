"""Which GPU a process takes; no GPU is needed to know."""

import pytest
import torch

from organoseg.core import UsageError
from organoseg.training.run import _gpu_number


@pytest.fixture(autouse=True)
def third(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)


def test_alone_it_is_the_recipe_s_or_the_present_one() -> None:
    assert _gpu_number(torch.device("cuda")) == 2
    assert _gpu_number(torch.device("cuda:1")) == 1


def test_of_several_processes_each_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert _gpu_number(torch.device("cuda")) == 3
    with pytest.raises(UsageError, match="a GPU of its own, and the recipe asks for cuda:1"):
        _gpu_number(torch.device("cuda:1"))
