"""What a finished run leaves behind: its networks measured, with their thresholds, as model folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from organoseg.core import Instances, RunError, write_json
from organoseg.models.folder import save_model
from organoseg.training.cards import write_model_card
from organoseg.training.data import RunData
from organoseg.training.loop import Loop
from organoseg.training.methods import FromArchive
from organoseg.training.recipe import Recipe

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


def finish(recipe: Recipe, data: RunData, out: Path, loop: Loop) -> RunResult:
    """Measure and save what the run leaves behind.

    Raises
    ------
    RunError
        The trained weights are not finite, or another process has ended.
    """
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
        write_model_card(paths[name], figures.get(name), data.validation, measured[name].predicted)
    write_json(out / "result.json", {**facts, **figures})
    loop.crew.wait()
    return result


@dataclass(frozen=True)
class _Measured:
    """Figures of a network, and the scores from which it reports organoids in one look and in several."""

    figures: dict[str, Any]
    threshold: float
    thorough: float | None
    predicted: dict[str, Instances]


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
    return _Measured(found.to_dict(), threshold, _thorough_threshold(module, data, loop), predicted)


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
