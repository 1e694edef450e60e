"""What changes while a run goes: networks, optimiser, and a few facts."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from organoseg.core import UsageError
from organoseg.distill.weights import freeze
from organoseg.models.agnostic import Predictor, carry_over, split_groups
from organoseg.models.registry import adapted_options, build_engine
from organoseg.models.statistics import LabelStatistics
from organoseg.training import checkpoint as files
from organoseg.training.methods import Mutual
from organoseg.training.pairs import new_pair
from organoseg.training.recipe import Model, Recipe


@dataclass
class Facts:
    """The plain part of a run's state; goes into every checkpoint."""

    step: int = 0  # steps done
    switched: bool = False  # the mutual stage has begun
    never: bool = False  # the guard gave up: the frozen teacher stays
    postponed: int = 0  # steps by which the guard put the switch off
    postponements: int = 0
    student: bool = False  # the student has begun
    told: bool = False  # the student tells classes apart, after a start without
    pool: str | None = None  # name of the pseudo-labels in use
    sharpness: float | None = None  # of the pool in use, where it was calibrated
    expected: float | None = None  # organoids per px that the first teacher expects
    teacher: str | None = None  # identity of a fixed teacher that is no part of the checkpoint
    best: float = -1.0
    chosen: str | None = None  # of a pair, the member that is the run's model
    finished: bool = False  # the last step's student has entered its average
    notes: list[str] = field(default_factory=list)


def new_engine(
    recipe: Recipe, classes: tuple[int, ...], seed: int, statistics: LabelStatistics | None = None
) -> nn.Module:
    """A fresh engine whose random parts depend on ``seed`` and on nothing else.

    ``statistics``: of the labelled organoids, for options that the recipe leaves to the engine.
    """

    def build(model: Model, seed: int) -> nn.Module:
        return _seeded(model, classes, seed, statistics)

    if isinstance(recipe.method, Mutual):
        return new_pair(recipe, recipe.method, seed, build)
    return build(recipe.model, seed)


def _seeded(
    model: Model, classes: tuple[int, ...], seed: int, statistics: LabelStatistics | None
) -> nn.Module:
    options = model.options
    if statistics is not None:
        options = adapted_options(model.engine, options, statistics)
    # The seed goes to all generators, so all are put back: each of several processes has random numbers of its own.
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        return build_engine(model.engine, classes, options, model.encoder_weights)


class State:
    """Networks and optimiser of a run.

    Attributes
    ----------
    student
        The network that trains.
    teacher
        The network that labels the archive; in a run's first stage, the student's running average.
    average
        A running average of the student beside a frozen teacher; None where nothing needs one.
    classes
        What the labels tell apart.
    first_classes
        What networks tell apart until `tell_classes`: the same, or one class for all.
    """

    def __init__(
        self,
        recipe: Recipe,
        classes: tuple[int, ...],
        device: torch.device,
        scaler: torch.amp.GradScaler | None = None,
        statistics: LabelStatistics | None = None,
    ) -> None:
        self.recipe, self.classes, self.device = recipe, classes, device
        self.scaler, self._statistics = scaler, statistics
        self.facts = Facts()
        self.first_classes = recipe.method.first_classes(classes)
        self.student = self._fresh(recipe.seed)
        self.teacher = freeze(copy.deepcopy(self.student))
        self.average: nn.Module | None = None
        self.optimiser = self.new_optimiser()

    def new_optimiser(self) -> torch.optim.Optimizer:
        """AdamW over the student's groups."""
        t = self.recipe.training
        groups = self.student.parameter_groups(t.learning_rate, t.weight_decay)  # type: ignore[operator]
        if self.facts.told:
            groups = split_groups(self.student, groups)
        for group in groups:
            group["base_lr"] = group["lr"]
        return torch.optim.AdamW(groups, fused=self.device.type == "cuda" or None)

    def _fresh(self, seed: int) -> nn.Module:
        classes = self.classes if self.facts.told else self.first_classes
        engine = new_engine(self.recipe, classes, seed, self._statistics).to(self.device)
        if self.recipe.training.checkpointing:
            if not hasattr(engine, "gradient_checkpointing"):
                raise UsageError(
                    f"the engine {self.recipe.model.engine} cannot compute its activations twice",
                    where="recipe, training.checkpointing",
                    remedy="Set it to false.",
                )
            engine.gradient_checkpointing = True  # type: ignore[assignment]
        told = getattr(engine, "train_on", None)
        if callable(told):
            told(self.recipe.training.augmentation.crop)
        return engine

    def begin_student(self, averages: bool) -> None:
        """A student from the backbone's pre-training, never from the teacher; the teacher is fixed."""
        # Another seed than the teacher's: a student that starts alike makes the same mistakes.
        self.student = self._fresh(self.recipe.seed + 1000)
        self.average = freeze(copy.deepcopy(self.student)) if averages else None
        self.optimiser = self.new_optimiser()

    def tell_classes(self, predictor: Predictor) -> tuple[str, ...]:
        """The student goes on as a network of all classes, from its average where there is one, with a new optimiser.

        Returns the names of the tensors that begin anew; see `organoseg.models.agnostic.carry_over`.
        """
        old = self.student if self.average is None else self.average
        self.facts.told = True
        self.student = self._fresh(self.recipe.seed + 2000)
        kept = carry_over(old, self.student, predictor)
        if self.average is not None:
            self.average = freeze(copy.deepcopy(self.student))
        self.optimiser = self.new_optimiser()
        return kept

    def checkpoint(self, identity: dict[str, Any], crew: Any = None) -> files.Checkpoint:
        """All of it; the processes of a crew differ in nothing but their random numbers, and all must ask."""
        tensors = files.module_tensors("student", self.student)
        tensors |= files.module_tensors("teacher", self.teacher)
        if self.average is not None:
            tensors |= files.module_tensors("average", self.average)
        moments, groups = files.optimiser_state(self.optimiser)
        tensors |= moments | files.rng_state(self.device)
        if crew is not None and crew.size > 1:
            others = crew.gather([{k: v.cpu() for k, v in files.rng_state(self.device).items()}])
            for rank, state in enumerate(others[1:], 1):
                tensors |= {f"{k}.{rank}": v for k, v in state.items()}
        facts = {
            "facts": asdict(self.facts),
            "groups": groups,
            "average": self.average is not None,
            "numpy": np.__version__,
            "processes": crew.size if crew is not None else 1,
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            **identity,
        }
        return files.Checkpoint(tensors, facts)

    def restore(self, saved: files.Checkpoint, crew: Any = None) -> None:
        """Go back to a checkpoint.

        Raises
        ------
        UsageError
            It was written by another number of processes: their random numbers would be others.
        """
        here, there = crew.size if crew is not None else 1, saved.facts.get("processes", 1)
        if here != there:
            raise UsageError(
                f"this run was started with {there} processes and is resumed with {here}",
                remedy=f"Resume it with {there}: torchrun --nproc-per-node {there}, or start another run.",
            )
        self.facts = Facts(**saved.facts["facts"])
        if self.facts.told:
            self.student = self._fresh(self.recipe.seed)
        files.load_module(saved, "student", self.student)
        files.load_module(saved, "teacher", self.teacher)
        if saved.facts["average"]:
            self.average = freeze(copy.deepcopy(self.student))
            files.load_module(saved, "average", self.average)
        self.optimiser = self.new_optimiser()
        files.load_optimiser(saved, self.optimiser)
        files.load_rng(saved.tensors, self.device, crew.rank if crew is not None else 0)
        if self.scaler is not None and saved.facts.get("scaler"):
            self.scaler.load_state_dict(saved.facts["scaler"])
