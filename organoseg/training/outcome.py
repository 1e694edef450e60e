"""What a finished run leaves behind: its networks measured, with their thresholds, as model folders."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from organoseg.core import Instances, RunError, write_json
from organoseg.inference.page.words import duration
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

    def sentence(self, seconds: float) -> str:
        """Where the model is and what to do with it, after so many seconds."""
        model = shlex.quote(str(self.model))
        return (
            f"Done in {duration(seconds)}. The model: {model}. "
            f"Next: organoseg predict IMAGES --model {model} --out DIR"
        )


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
    looks = _Looks(loop, data.validation is not None, 2 * len(networks))
    measured = {
        name: _measure(network.module, data, loop, looks) for name, network in networks.items()
    }
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


class _Looks:
    """Says which look at labelled images is under way: each takes minutes on a processor."""

    def __init__(self, loop: Loop, held_out: bool, looks: int) -> None:
        self._loop, self._looks, self._number = loop, looks, 0
        which = "validation" if held_out else "labelled"
        self._what = (
            f"looking at the {which} images to choose the score from which organoids are reported"
        )

    def next(self, images: int, thorough: bool = False) -> Callable[[int, int], None]:
        """Begin one at so many images; what is returned takes how far it is."""
        self._number += 1
        how = ", thorough" if thorough else ""
        said = partial(
            self._loop.looking, f"{self._what} (look {self._number} of {self._looks}{how})"
        )
        said(0, images)
        return said


def _measure(module: nn.Module, data: RunData, loop: Loop, looks: _Looks) -> _Measured:
    from organoseg.evaluation import evaluate
    from organoseg.training.validation import predict_dataset

    known = data.validation or data.labelled
    predicted, truth = predict_dataset(
        module, known, loop.state.device, crew=loop.crew, progress=looks.next(len(known))
    )
    found = evaluate(predicted, truth, bootstrap=0)
    # Without held-out images the labelled ones choose the score from which organoids are reported. Their
    # figures would flatter and are not written down; the balance of found and invented carries over.
    threshold = found.best.threshold if found.predictions else DEFAULT_THRESHOLD
    thorough = _thorough_threshold(module, data, loop, looks)
    return _Measured(found.to_dict(), threshold, thorough, predicted)


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


def _thorough_threshold(
    module: nn.Module, data: RunData, loop: Loop, looks: _Looks
) -> float | None:
    """The score of the best F1 when each image is looked at several times; None where nothing is found."""
    from organoseg.evaluation import evaluate
    from organoseg.training.validation import predict_dataset

    known = data.validation or data.labelled
    some = known.select(known.names[:MOST_LOOKED_AT])
    device, crew = loop.state.device, loop.crew
    progress = looks.next(len(some), thorough=True)
    seen = predict_dataset(module, some, device, thorough=True, crew=crew, progress=progress)
    found = evaluate(*seen, bootstrap=0)
    return found.best.threshold if found.predictions else None


def _pixel_size(data: RunData) -> float | None:
    """µm per px where the files of all labelled images say the same, within 2 %."""
    sizes = {size for item in data.labelled for size in item.image.pixel_size or (0.0,)}
    low, high = min(sizes), max(sizes)
    return (low + high) / 2 if low > 0 and high <= 1.02 * low else None
