"""``organoseg train``: a recipe becomes a run folder with a model in it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from organoseg.core import RunError, UsageError, write_json, write_text
from organoseg.inference.api import choose_device
from organoseg.models.precision import training_precision
from organoseg.training import checkpoint as files
from organoseg.training.crew import crew_of
from organoseg.training.crowding import check_queries, resolve_queries
from organoseg.training.data import load_data
from organoseg.training.loop import Loop
from organoseg.training.outcome import RunResult, finish
from organoseg.training.progress import Reporter, automatic, silent
from organoseg.training.recipe import Recipe, dump_recipe, load_recipe

RECIPE = "recipe.yaml"
#: Settings that change how a run runs but not what it is, and may differ on resume. In parts the sums are added up in
#: another order, so the last bits differ.
FREE = (
    ("training", "keep"),
    ("training", "checkpoint_every"),
    ("training", "device"),
    ("training", "workers"),
    ("training", "accumulate"),
    ("training", "checkpointing"),
    *(("data", "sampling", key) for key in ("accelerator", "workers", "cache", "cache_gb")),
)


def train(
    recipe: Path | Recipe,
    out: Path,
    overrides: Sequence[str] = (),
    resume: bool = False,
    reporter: Reporter | None = None,
) -> RunResult:
    """Train what a recipe says, in the folder ``out``.

    The folder gets ``recipe.yaml`` (resolved), ``environment.json``, ``metrics.jsonl``, TensorBoard events,
    ``checkpoints/``, ``model/`` (the student's running average: the one to use), ``student/`` (its raw weights) and
    ``result.json``.

    Raises
    ------
    UsageError
        A fault of the recipe, a folder that holds another run, or a resume with another recipe.
    DataError
        Data or checkpoints are missing or faulty.
    RunError
        Training failed; the last checkpoint is whole.
    """
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    _check_folder(chosen, out, resume)
    accelerator = _accelerator(chosen)
    crew = crew_of(accelerator)
    report = (reporter or automatic()) if crew.main else silent
    data = load_data(chosen)
    crew.wait()  # who came first must not make the folder before the last has looked
    _check_share(chosen, crew.size)
    identity = {"recipe": _identity(chosen), "data": data.manifest}
    # Engines may draw random numbers while they train: from the recipe's seed and the process' rank, nothing else.
    torch.manual_seed(chosen.seed + crew.rank)
    # Built before anything is written: a wrong engine or wrong weights leave no folder behind.
    built = resolve_queries(chosen, data.labelled)
    loop = Loop(built, data, out, accelerator, report, identity)
    said = check_queries(loop.state.student, built, data.labelled)
    fresh = not out.exists()
    crew.wait()
    if crew.main:
        _make(out)
        _prepare(out, chosen, resume)
        write_json(out / "environment.json", _environment(loop.state.device, accelerator))
    crew.wait()
    if resume:
        _restore(loop, out, identity)
    if said and loop.state.facts.step == 0:
        report("warning", {"step": 0, "text": said})
        loop.state.facts.notes.append(f"step 0: {said}")
    try:
        loop.run()
    except BaseException:
        if crew.main:
            _clear(out, fresh and loop.state.facts.step == 0)
        raise
    try:
        result = finish(built, data, out, loop)
    except BaseException:
        report("abort", {"step": loop.state.facts.step})
        raise
    plain = ("train", "steps", "waiting_share")
    report("end", {key: loop.seconds[key] for key in plain})
    return result


def _check_share(recipe: Recipe, processes: int) -> None:
    least = recipe.training.batch
    least = min(least, recipe.method.archive_batch(least) or least)
    if least < processes:
        raise UsageError(
            f"{processes} processes cannot share a batch of {least} crops",
            where="recipe, training.batch",
            remedy="Start fewer processes, or raise the batch.",
        )


def _prepare(out: Path, recipe: Recipe, resume: bool) -> None:
    if resume:
        for partial in out.rglob(".tmp-*"):  # what a kill left of files that were being written
            partial.unlink(missing_ok=True)
    else:
        write_text(out / RECIPE, dump_recipe(recipe))


def _check_folder(recipe: Recipe, out: Path, resume: bool) -> None:
    known = out / RECIPE
    if out.exists() and not out.is_dir():
        raise UsageError(
            "this is a file, not a run folder", where=out, remedy="Give another --out."
        )
    if not resume:
        if known.exists():
            raise UsageError(
                "this folder holds a run already",
                where=out,
                remedy="Add --resume, or give another --out.",
            )
        return
    if not known.exists():
        raise UsageError(
            "there is no run to resume", where=out, remedy="Start it without --resume."
        )
    different = _differences(_tree(load_recipe(known)), _tree(recipe))
    if different:
        raise UsageError(
            f"the recipe has changed since the run was started: {', '.join(different)}",
            where=out,
            remedy=f"Resume with {known}, or start another run.",
        )


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the run folder cannot be made: {error.strerror or error}",
            where=out,
            remedy="Check permissions and the path.",
        ) from error


def _clear(out: Path, whole: bool) -> None:
    """A run that failed before its first checkpoint has nothing to resume, and must not block the next start."""
    if files.listed(out / "checkpoints"):
        return
    if whole:
        shutil.rmtree(out, ignore_errors=True)
    else:
        (out / RECIPE).unlink(missing_ok=True)


def _tree(recipe: Recipe) -> dict[str, Any]:
    tree = recipe.model_dump(mode="json")
    for *sections, key in FREE:
        part = tree
        for section in sections:
            part = part[section]
        part.pop(key, None)
    return tree


def _differences(a: Any, b: Any, place: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(a.keys() | b.keys())
        return [
            d for k in keys for d in _differences(a.get(k), b.get(k), f"{place}.{k}".lstrip("."))
        ]
    return [] if a == b else [f"{place} was {a!r}, is {b!r}"]


def _identity(recipe: Recipe) -> str:
    return hashlib.sha256(json.dumps(_tree(recipe), sort_keys=True).encode()).hexdigest()


def _restore(loop: Loop, out: Path, identity: dict[str, Any]) -> None:
    if not files.listed(out / "checkpoints"):
        return  # killed before its first checkpoint: it begins again
    saved = files.read(files.latest(out / "checkpoints"))
    for key, what in (("recipe", "recipe"), ("data", "labelled images or archive")):
        if saved.facts[key] != identity[key]:
            raise UsageError(
                f"the {what} changed since the checkpoint was written",
                where=out,
                remedy="Put it back as it was, or start another run.",
            )
    loop.state.restore(saved, loop.crew)


def _accelerator(recipe: Recipe) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    t = recipe.training
    device = choose_device(t.device)
    if t.threads is not None:
        torch.set_num_threads(t.threads)
    # The process's own choice, made before torch reads it: idle threads that spin cost a factor of four.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if device.type == "cuda":
        torch.cuda.set_device(_gpu_number(device))
        # fp32 products in TF32: what the paper's own code ran in, and several times as fast.
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    elif device.type == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
    # accelerate remembers the precision of a process's first run and refuses any other.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=device.type == "cpu", mixed_precision=training_precision(t.precision, device)
    )
    if t.threads is not None:
        torch.set_num_threads(t.threads)  # accelerate has its own idea under several processes
    return accelerator


def _gpu_number(device: torch.device) -> int:
    """Which GPU is this process' own: torchrun's choice, the recipe's, or the present one."""
    rank = os.environ.get("LOCAL_RANK")
    if rank is None:
        return torch.cuda.current_device() if device.index is None else device.index
    if device.index is not None:
        raise UsageError(
            f"torchrun gives each process a GPU of its own, and the recipe asks for {device}",
            where="recipe, training.device",
            remedy="Set it to auto, and choose the GPUs with CUDA_VISIBLE_DEVICES.",
        )
    return int(rank)


def _environment(device: torch.device, accelerator: Any) -> dict[str, Any]:
    from organoseg import __version__

    return {
        "organoseg": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "processor": platform.processor(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "precision": accelerator.mixed_precision,
    }
