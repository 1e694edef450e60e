"""Recipes: one YAML file says everything about a run, and unknown words are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from organoseg.core import DataError, UsageError
from organoseg.models.published.catalogue import CATALOGUE
from organoseg.models.starter import TITLE as STARTER
from organoseg.training.methods import PAPER_TRAINING, PAPER_VIEWS, Method, Strict, Supervised

DEFAULT_STEPS = 600
#: What `training.batch: auto` means; the memory decides in how many parts it is computed, not how large it is.
BATCH, PAPER_BATCH = 4, 16
#: The pool of guided distillation holds one archive image for so many of the student's steps.
STEPS_AN_IMAGE = 6
#: Options of a compact engine that begins from something else, or whose weights have other shapes or meanings.
_NOT_THE_STARTERS = {"start", "width", "padding"}


class LabelledData(Strict):
    """Labelled images as COCO."""

    annotations: Path = Field(description="COCO instances file")
    images: Path = Field(description="folder its file names start from")
    names: tuple[str, ...] | None = Field(None, description="use these files only")
    split: str | None = Field(None, description="FILE.json#KEY: use the file names listed there")

    @model_validator(mode="after")
    def _one_choice(self) -> LabelledData:
        if self.names is not None and self.split is not None:
            raise ValueError("give either names or split, not both")
        return self


class Sampling(Strict):
    """How crops are drawn from an archive."""

    exclude_groups: tuple[str, ...] = Field(
        (), description="groups (plates, wells, ...) that are kept for tests and never drawn"
    )
    z: Literal["best", "any", "max", "min"] = Field(
        "best", description="what is seen of a z-stack: its sharpest plane, any, or a projection"
    )
    alpha: float = Field(
        0.5, ge=0, le=1, description="0: all groups alike; 1: each by its number of images"
    )
    accelerator: Literal["zarr", "zarrs"] = Field(
        "zarr", description="what decodes chunks; zarrs needs the extra 'fast'"
    )
    workers: int = Field(0, ge=0, description="processes that read ahead; 0: threads")
    cache: Path | None = Field(None, description="folder that keeps what was read of remote stores")
    cache_gb: float = Field(20, gt=0.001, description="most that the cache holds, in GB")


class Data(Strict):
    """What a run learns from."""

    labelled: LabelledData
    validation: LabelledData | None = Field(
        None, description="never trained on; chooses the best checkpoint"
    )
    unlabelled: Path | None = Field(
        None, description="archive (zarr) or its catalogue, or a folder of images"
    )
    sampling: Sampling = Sampling()
    pixel_size: float | None = Field(
        None, gt=0, description="µm per px of the labelled images; null: what their files say"
    )
    prefer: tuple[str, ...] = Field(
        (), description="parts of archive file names; only images with one are drawn"
    )


class Model(Strict):
    """Which engine, and what it begins from.

    Where nothing is said of its beginning, the compact engine goes on from the starter model (docs/starter.md): with
    few labels nothing else was worth as much, and it needs no download.
    """

    engine: str = "compact"
    encoder_weights: str | None = Field(
        "mobilenet_v2_imagenet",
        description="a file, a published name, or null for a random encoder; not given, a compact engine of the usual "
        "width begins from the starter model instead (options.start)",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="the engine's own settings")

    @model_validator(mode="before")
    @classmethod
    def _begins_from_the_starter(cls, tree: Any) -> Any:
        """Written out, so that a run's recipe says what it began from."""
        if not isinstance(tree, Mapping) or "encoder_weights" in tree:
            return tree
        options = tree.get("options", {})
        if tree.get("engine", "compact") != "compact" or not isinstance(options, Mapping):
            return tree
        if not _NOT_THE_STARTERS & options.keys():
            options = {**options, "start": STARTER}
        if options.get("start") is None:
            return tree
        return {**tree, "encoder_weights": None, "options": options}


class Augmentation(Strict):
    """Crops and their zoom."""

    crop: int = Field(256, ge=32, multiple_of=32, description="side of the training crops, px")
    scale: tuple[float, float] = Field((0.75, 1.5), description="range of the random zoom")
    geometry: Literal["crop", "jitter"] = Field(
        "crop",
        description="crop: squares of the zoomed image, turned and mirrored; jitter: the image fitted into scale "
        "times the crop, mirrored, then cropped or padded (large-scale jitter)",
    )
    light: Literal["mild", "ssd", "none"] = Field(
        "mild", description="photometric change of weak views and labelled crops"
    )

    @model_validator(mode="after")
    def _range(self) -> Augmentation:
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError("scale must be two positive numbers, the smaller first")
        return self


class Training(Strict):
    """The loop."""

    steps: int = Field(
        DEFAULT_STEPS, ge=1, description="optimiser steps (of the student, in guided distillation)"
    )
    batch: int = Field(
        BATCH,
        ge=1,
        description="labelled crops a step, of all processes together; auto: the preset's",
    )
    accumulate: int | Literal["auto"] = Field(
        "auto",
        description="parts in which a step's batch is computed, to the same sums; auto: as the memory allows",
    )
    checkpointing: bool = Field(
        False, description="spare memory: compute activations a second time instead of keeping them"
    )
    workers: int | Literal["auto"] = Field(
        "auto",
        description="processes that make labelled batches, and as many for unlabelled ones; 0: a thread each; "
        "auto: as the cores beside a GPU allow",
    )
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    schedule: Literal["cosine", "poly", "multistep"] = Field(
        "cosine", description="how the learning rate falls: to 0, or by steps of a tenth"
    )
    warmup: int = Field(30, ge=0, description="steps over which the learning rate rises")
    clip: float = Field(5.0, gt=0, description="largest gradient norm")
    half_life: float = Field(70, gt=0, description="half-life of the weight average in steps")
    augmentation: Augmentation = Augmentation()
    validate_every: int = Field(200, ge=1)
    checkpoint_every: int = Field(100, ge=1)
    keep: int = Field(3, ge=1, description="checkpoints kept besides the best")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N, mps"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the chip computes in it; fp16: older GPUs"
    )
    threads: int | None = Field(None, ge=1, description="processor threads; null: all")

    @model_validator(mode="after")
    def _counts(self) -> Training:
        if self.accumulate != "auto" and not 1 <= self.accumulate <= self.batch:
            raise ValueError("accumulate must be auto, or from 1 to the batch")
        if self.workers != "auto" and self.workers < 0:
            raise ValueError("workers must be auto, or 0 and more")
        return self


class Recipe(Strict):
    """One run."""

    version: Literal[1] = 1
    seed: int = Field(0, ge=0)
    data: Data
    model: Model = Model()
    method: Method = Supervised()
    training: Training = Training()

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        method, training = given.get("method", {"name": "supervised"}), given.get("training") or {}
        if not isinstance(method, Mapping) or not isinstance(training, Mapping):
            return given
        paper = method.get("preset") == "paper"
        if paper:
            views = training.get("augmentation") or {}
            if isinstance(views, Mapping):
                training = {**training, "augmentation": {**PAPER_VIEWS, **views}}
            training = {**PAPER_TRAINING, **training}
        steps = training.get("steps", DEFAULT_STEPS)
        pools = method.get("name", "supervised") != "supervised"
        pools = pools and "pool" not in method and not paper
        pools = pools and method.get("name") != "fast_student"  # labels every batch
        if pools and isinstance(steps, int):
            method = {**method, "pool": max(steps // STEPS_AN_IMAGE, 1)}
        if training.get("batch") == "auto":
            training = {**training, "batch": PAPER_BATCH if paper else BATCH}
        return {**given, "method": method, "training": training}

    @model_validator(mode="after")
    def _archive(self) -> Recipe:
        if self.method.needs_archive and self.data.unlabelled is None:
            raise ValueError(
                f"method {self.method.name} needs data.unlabelled, an archive or a folder of images"
            )
        return self


def _assign(tree: dict[str, Any], assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    if not equals or not key:
        raise UsageError(
            f"cannot read {assignment!r}", where="--set", remedy="Write --set section.key=value."
        )
    *path, last = key.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise UsageError(
                f"{part!r} is no section", where=f"--set {assignment}", remedy="See configs/."
            )
    try:
        tree[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(
            f"cannot read the value {text!r}",
            where=f"--set {assignment}",
            remedy="Write it as in YAML; quote what the shell would change.",
        ) from error


def _explain(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        place = ".".join(str(p) for p in fault["loc"]) or "recipe"
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "unknown key"
        lines.append(
            f"{place}: {message}"
            + (f" (got {fault['input']!r})" if fault["type"] != "missing" else "")
        )
    return "; ".join(lines[:5])


def parse_recipe(tree: Any, base: Path | None = None, where: str = "recipe") -> Recipe:
    """A recipe from plain data; relative paths start from ``base``.

    Raises
    ------
    UsageError
        An unknown key or an impossible value, named with its place.
    """
    if not isinstance(tree, dict):
        raise UsageError(
            "a recipe is a mapping of sections", where=where, remedy="See configs/ for examples."
        )
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        raise UsageError(
            _explain(error), where=where, remedy="See configs/ for examples."
        ) from error
    return _rooted(recipe, base) if base is not None else recipe


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe file, with ``a.b=c`` overrides; its relative paths start from the file's folder."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            "no such recipe", where=path, remedy="Give the path of a YAML file."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the recipe is not YAML: {error}", where=path, remedy="See configs/ for examples."
        ) from error
    except OSError as error:
        raise DataError(f"the recipe cannot be read: {error}", where=path) from error
    if isinstance(tree, dict):
        for assignment in overrides:
            _assign(tree, assignment)
    return parse_recipe(tree, path.parent.resolve(), str(path))


def _rooted(recipe: Recipe, base: Path) -> Recipe:
    """Every relative path of the recipe made absolute, so that the copy in the run folder stays true."""
    tree = recipe.model_dump(mode="json")

    def root(section: dict[str, Any] | None, keys: Sequence[str]) -> None:
        for key in keys:
            if section and section.get(key) is not None:
                section[key] = str(base / section[key])

    data = tree["data"]
    root(data["labelled"], ("annotations", "images", "split"))
    root(data["validation"], ("annotations", "images", "split"))
    root(data, ("unlabelled",))
    root(data["sampling"], ("cache",))
    root(tree["method"], ("teacher", "second_teacher"))
    if tree["method"].get("teachers"):
        tree["method"]["teachers"] = [str(base / folder) for folder in tree["method"]["teachers"]]
    partner = tree["method"].get("partner") or {}
    # A published name, or a file or folder that may lie beside the recipe.
    places = [(tree["model"], "encoder_weights"), (tree["model"]["options"], "start")]
    places += [(partner, "encoder_weights"), (partner.get("options", {}), "start")]
    for section, key in places:
        weights = section.get(key)
        if isinstance(weights, str) and weights not in CATALOGUE and (base / weights).exists():
            section[key] = str(base / weights)
    return Recipe.model_validate(tree)


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
