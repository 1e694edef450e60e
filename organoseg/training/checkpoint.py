"""Everything a run needs to go on, in one safetensors file that is either whole or not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from organoseg.core import DataError, atomic_write

_NAME = re.compile(r"^step-(\d{8})\.safetensors$")
BEST = "best.safetensors"
#: Settings of an optimiser that follow from where it runs, and not from the run.
OF_THE_DEVICE = ("fused", "foreach", "capturable")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Tensors by name (``student.…``, ``teacher.…``, ``optimiser.…``, ``rng.…``) and plain facts."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def module_tensors(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """A module's tensors under ``prefix.``."""
    return {f"{prefix}.{k}": v.detach() for k, v in module.state_dict().items()}


def load_module(checkpoint: Checkpoint, prefix: str, module: nn.Module) -> None:
    """Put the tensors under ``prefix.`` back, strictly."""
    start = f"{prefix}."
    state = {k[len(start) :]: v for k, v in checkpoint.tensors.items() if k.startswith(start)}
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise DataError(
            f"the checkpoint's {prefix} does not fit the recipe: {error}",
            remedy="Resume with the recipe the run was started with.",
        ) from error


def optimiser_state(
    optimiser: torch.optim.Optimizer,
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The optimiser's tensors by ``optimiser.index.name`` and its groups' plain settings."""
    state = optimiser.state_dict()
    tensors = {
        f"optimiser.{index}.{name}": torch.as_tensor(value)
        for index, entry in state["state"].items()
        for name, value in entry.items()
    }
    groups = [
        {k: v for k, v in group.items() if _plain(v) and k not in OF_THE_DEVICE}
        for group in state["param_groups"]
    ]
    return tensors, groups


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list, tuple))


def load_optimiser(checkpoint: Checkpoint, optimiser: torch.optim.Optimizer) -> None:
    """Put the optimiser's state back."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in checkpoint.tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    groups = optimiser.state_dict()["param_groups"]
    saved = checkpoint.facts["groups"]
    if len(groups) != len(saved):
        raise DataError("the checkpoint's optimiser does not fit the recipe")
    merged = [
        {**group, **old, "params": group["params"]}
        for group, old in zip(groups, saved, strict=True)
    ]
    for group in merged:
        if "betas" in group:
            group["betas"] = tuple(group["betas"])
    optimiser.load_state_dict({"state": state, "param_groups": merged})


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write whole or not at all."""
    from safetensors.torch import save

    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in checkpoint.tensors.items()}
    data = save(tensors, metadata={"facts": json.dumps(checkpoint.facts)})
    with atomic_write(path) as file:
        file.write(data)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    Raises
    ------
    DataError
        It is damaged, or no checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a mapping
            facts = json.loads((file.metadata() or {})["facts"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(
            f"the checkpoint cannot be read: {error}",
            where=path,
            remedy="Resume from an older one.",
        ) from error
    return Checkpoint(tensors, facts)


def listed(folder: Path) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    if not folder.is_dir():
        return []
    found: Iterator[tuple[int, Path]] = (
        (int(match[1]), path) for path in folder.iterdir() if (match := _NAME.match(path.name))
    )
    return [path for _, path in sorted(found)]


def latest(folder: Path) -> Path:
    """The newest checkpoint.

    Raises
    ------
    DataError
        There is none.
    """
    paths = listed(folder)
    if not paths:
        raise DataError(
            "there is no checkpoint to resume from",
            where=folder,
            remedy="Start the run without --resume.",
        )
    return paths[-1]


def save_step(folder: Path, step: int, checkpoint: Checkpoint, keep: int) -> Path:
    """Write the checkpoint of a step and drop all but the last ``keep``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.safetensors"
    write(path, checkpoint)
    for old in listed(folder)[:-keep]:
        old.unlink()
    return path


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """Torch's generators. Batches are functions of (seed, step) and need none."""
    state = {"rng.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["rng.cuda"] = torch.cuda.get_rng_state(device)
    return state


def load_rng(tensors: Mapping[str, Tensor], device: torch.device, rank: int = 0) -> None:
    """Put torch's generators back: those of the ``rank``-th process."""
    end = f".{rank}" if rank else ""
    torch.set_rng_state(tensors[f"rng.cpu{end}"])
    if device.type == "cuda" and f"rng.cuda{end}" in tensors:
        torch.cuda.set_rng_state(tensors[f"rng.cuda{end}"], device)
