"""Checkpoints are whole or not there, whatever happens while they are written."""

import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from organoseg.core import DataError, RunError
from organoseg.core import files as atomic
from organoseg.training import checkpoint as files


def module(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(30, 30), nn.BatchNorm1d(30), nn.Linear(30, 2))
    net(torch.randn(4, 30))
    return net


def state(step: int) -> files.Checkpoint:
    return files.Checkpoint(files.module_tensors("student", module(step)), {"step": step})


def is_whole(saved: files.Checkpoint) -> bool:
    expected = state(saved.facts["step"]).tensors
    return saved.tensors.keys() == expected.keys() and all(
        torch.equal(saved.tensors[k], v) for k, v in expected.items()
    )


class Failing:
    """A file that runs full after some bytes, or fails at flush."""

    def __init__(self, file: Any, after: int | None, at_flush: bool) -> None:
        self._file, self._left, self._at_flush = file, after, at_flush

    def write(self, data: bytes) -> int:
        if self._left is not None and len(data) > self._left:
            self._file.write(data[: self._left])
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self._file.write(data))

    def flush(self) -> None:
        if self._at_flush:
            raise OSError(errno.EIO, "Input/output error")
        self._file.flush()

    def fileno(self) -> int:
        return int(self._file.fileno())

    def __enter__(self) -> "Failing":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _fail(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


Fault = Callable[[pytest.MonkeyPatch], None]


def _short(after: int) -> Fault:
    def apply(patch: pytest.MonkeyPatch) -> None:
        real = Path.open
        patch.setattr(Path, "open", lambda p, *a, **k: Failing(real(p, *a, **k), after, False))

    return apply


def _at_flush(patch: pytest.MonkeyPatch) -> None:
    real = Path.open
    patch.setattr(Path, "open", lambda p, *a, **k: Failing(real(p, *a, **k), None, True))


def _at_fsync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(atomic.os, "fsync", _fail)


def _at_replace(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(atomic.os, "replace", _fail)


def faults() -> Iterator[Fault]:
    """100 of them: 85 sizes at which the disk is full, from the first byte to the last, and 5 of each other kind."""
    size = len(_bytes())
    chance = random.Random(0)
    yield from (_short(k) for k in (0, 1, 7, 8, size - 1))
    yield from (_short(chance.randrange(size)) for _ in range(80))
    for kind in (_at_flush, _at_fsync, _at_replace):
        yield from [kind] * 5


def _bytes() -> bytes:
    from safetensors.torch import save

    return save(state(1).tensors, metadata={"facts": '{"step": 1}'})


def test_a_loadable_checkpoint_survives_100_of_100_write_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.save_step(tmp_path, 1, state(1), keep=3)
    step, survived = 1, 0
    for fault in faults():
        with monkeypatch.context() as patch:
            fault(patch)
            with pytest.raises(RunError) as caught:
                files.save_step(tmp_path, step + 1, state(step + 1), keep=3)
        assert "Cannot write" in str(caught.value)
        assert caught.value.where is not None
        saved = files.read(files.latest(tmp_path))
        survived += is_whole(saved) and saved.facts["step"] == step
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".tmp")] == []
        if survived % 10 == 0:  # and the run goes on once there is room
            step += 1
            files.save_step(tmp_path, step, state(step), keep=3)
    assert survived == 100


def test_an_overwritten_checkpoint_is_the_old_one_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(tmp_path / files.BEST, state(1))
    for fault in (_short(500), _at_flush, _at_fsync, _at_replace):
        with monkeypatch.context() as patch:
            fault(patch)
            with pytest.raises(RunError):
                files.write(tmp_path / files.BEST, state(2))
        assert is_whole(saved := files.read(tmp_path / files.BEST))
        assert saved.facts["step"] == 1


def test_the_last_ones_are_kept_and_the_best_is_not_counted(tmp_path: Path) -> None:
    files.write(tmp_path / files.BEST, state(1))
    for step in (8, 9, 10, 11, 100):
        files.save_step(tmp_path, step, state(1), keep=3)
    assert [p.name for p in files.listed(tmp_path)] == [
        "step-00000010.safetensors",
        "step-00000011.safetensors",
        "step-00000100.safetensors",
    ]
    assert files.latest(tmp_path).name == "step-00000100.safetensors"
    assert (tmp_path / files.BEST).exists()


def test_without_a_checkpoint_the_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no checkpoint.*without --resume") as caught:
        files.latest(tmp_path)
    assert caught.value.where == str(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 9, 3000])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, keep: int) -> None:
    path = files.save_step(tmp_path, 1, state(1), keep=3)
    os.truncate(path, keep)
    with pytest.raises(DataError, match="cannot be read") as caught:
        files.read(path)
    assert caught.value.where == str(path)


def test_another_network_does_not_slip_in() -> None:
    with pytest.raises(DataError, match="student does not fit the recipe"):
        files.load_module(state(1), "student", nn.Linear(3, 3))


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_an_optimiser_goes_on_as_if_nothing_had_happened(tmp_path: Path, kind: Any) -> None:
    def train(net: nn.Module, optimiser: Any, steps: range) -> None:
        for k in steps:
            x = torch.full((4, 30), float(k)) + torch.arange(30.0)
            optimiser.zero_grad()
            net(x).square().mean().backward()
            optimiser.step()

    def new() -> tuple[nn.Module, Any]:
        net = module(0)
        first, *rest = net.parameters()
        groups = [{"params": [first], "lr": 1e-3, "base_lr": 1e-3}, {"params": rest, "lr": 1e-2}]
        return net, kind(groups, lr=1e-2, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))

    whole, optimiser = new()
    train(whole, optimiser, range(6))
    first, optimiser = new()
    train(first, optimiser, range(3))
    optimiser.param_groups[0]["lr"] = 5e-4  # as a schedule does
    moments, groups = files.optimiser_state(optimiser)
    tensors = files.module_tensors("student", first) | moments
    path = files.save_step(tmp_path, 3, files.Checkpoint(tensors, {"groups": groups}), keep=1)
    second, optimiser = new()
    saved = files.read(path)
    files.load_module(saved, "student", second)
    files.load_optimiser(saved, optimiser)
    assert optimiser.param_groups[0]["lr"] == 5e-4
    assert optimiser.param_groups[0]["base_lr"] == 1e-3
    optimiser.param_groups[0]["lr"] = 1e-3
    train(second, optimiser, range(3, 6))
    for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_random_numbers_go_on_where_they_were() -> None:
    cpu = torch.device("cpu")
    torch.manual_seed(5)
    saved = files.rng_state(cpu)
    first = torch.rand(3)
    files.load_rng(saved, cpu)
    assert torch.equal(torch.rand(3), first)
