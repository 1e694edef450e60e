"""``organoseg train``: a recipe becomes a run folder with a model in it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from organoseg.core import RunError, UsageError, write_json, write_text
from organoseg.inference.api import choose_device
from organoseg.models.folder import save_model
from organoseg.models.precision import training_precision
from organoseg.training import checkpoint as files
from organoseg.training.crew import crew_of
from organoseg.training.crowding import check_queries, resolve_queries
from organoseg.training.data import RunData, load_data
from organoseg.training.loop import Loop
from organoseg.training.methods import FromArchive
from organoseg.training.progress import Reporter, automatic, silent
from organoseg.training.recipe import Recipe, dump_recipe, load_recipe, parse_recipe

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
DEFAULT_THRESHOLD = 0.3
#: Images on which the score threshold of a thorough look is chosen; it takes seven times as long as a plain one.
MOST_LOOKED_AT = 60


@dataclass(frozen=True)
class RunResult:
    """Where a run's models are, and its figures."""

    out: Path
    model: Path
    student: Path
    figures: dict[str, Any]


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
    return _finish(built, data, out, loop)


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


def _finish(recipe: Recipe, data: RunData, out: Path, loop: Loop) -> RunResult:
    """Measure and save what the run leaves behind."""
    networks = loop.stages.networks()
    if not all(
        bool(torch.isfinite(p).all()) for n in networks.values() for p in n.module.parameters()
    ):
        raise RunError(
            "the trained weights are not finite", where=out, remedy="Lower training.learning_rate."
        )
    figures: dict[str, Any] = {"seconds": loop.seconds, "notes": loop.state.facts.notes}
    measured = {name: _measure(network.module, data, loop) for name, network in networks.items()}
    held_out = data.validation is not None
    if held_out:
        figures |= {name: found.figures for name, found in measured.items()}
    facts = _facts(recipe, data, loop)
    paths = {name: out / network.folder for name, network in networks.items()}
    result = RunResult(out, paths["teacher"], paths["student"], figures)
    if not loop.crew.main:
        loop.crew.wait()
        return result
    for name, network in networks.items():
        save_model(
            paths[name], network.module, network.engine,
            getattr(network.module, "options", recipe.model.options), network.classes,
            measured[name].threshold, facts, measured[name].thorough,
            recipe.data.pixel_size or _pixel_size(data),
        )  # fmt: skip
    write_json(out / "result.json", {**facts, **figures})
    loop.crew.wait()
    return result


@dataclass(frozen=True)
class _Measured:
    """Figures of a network, and the scores from which it reports organoids in one look and in several."""

    figures: dict[str, Any]
    threshold: float
    thorough: float | None


def _measure(module: nn.Module, data: RunData, loop: Loop) -> _Measured:
    from organoseg.evaluation import evaluate
    from organoseg.training.validation import predict_dataset

    predicted, truth = predict_dataset(
        module, data.validation or data.labelled, loop.state.device, crew=loop.crew
    )
    found = evaluate(predicted, truth, bootstrap=0)
    # Without held-out images the labelled ones choose the score from which organoids are reported. Their
    # figures would flatter and are not written down; the balance of found and invented carries over.
    threshold = found.best.threshold if found.predictions else DEFAULT_THRESHOLD
    return _Measured(found.to_dict(), threshold, _thorough_threshold(module, data, loop))


def _facts(recipe: Recipe, data: RunData, loop: Loop) -> dict[str, Any]:
    method, archive = recipe.method, data.unlabelled
    return {
        "score_threshold_from": "validation" if data.validation is not None else "labelled images",
        "method": method.name,
        "preset": method.preset if isinstance(method, FromArchive) else None,
        "seed": recipe.seed,
        "steps": loop.schedule.total,
        "labelled_images": len(data.labelled),
        "unlabelled_images": len(archive) if archive is not None else 0,
        "lost_chunks": archive.lost if archive is not None else 0,
    }


def _thorough_threshold(module: nn.Module, data: RunData, loop: Loop) -> float | None:
    """The score of the best F1 when each image is looked at several times; None where nothing is found."""
    from organoseg.evaluation import evaluate
    from organoseg.training.validation import predict_dataset

    known = data.validation or data.labelled
    some = known.select(known.names[:MOST_LOOKED_AT])
    device, crew = loop.state.device, loop.crew
    seen = predict_dataset(module, some, device, thorough=True, crew=crew)
    found = evaluate(*seen, bootstrap=0)
    return found.best.threshold if found.predictions else None


def _pixel_size(data: RunData) -> float | None:
    """µm per px where the files of all labelled images say the same, within 2 %."""
    sizes = {size for item in data.labelled for size in item.image.pixel_size or (0.0,)}
    low, high = min(sizes), max(sizes)
    return (low + high) / 2 if low > 0 and high <= 1.02 * low else None


def resolve(tree: dict[str, Any]) -> Recipe:
    """A recipe from plain data whose paths are already absolute; for programs."""
    return parse_recipe(tree)
