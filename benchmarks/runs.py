"""The trainings of the few-label benchmark: which there are, where they lie, and their recipes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.testset import SPLITS
from organoseg.core import DataError, UsageError, read_json
from organoseg.dataset import few_label_split
from organoseg.training.recipe import Recipe, load_recipe

#: The methods, in the order of the table, and how many trained models may teach in a run of each.
TEACHERS = {"supervised": 0, "guided": 1, "class_agnostic": 1, "mutual": 2, "fast_student": 1}
#: Methods that cannot train their own first teacher.
TAUGHT = ("fast_student",)
#: The shift: labels from these parts of M-OrgaQuant, archive and test from that one.
SHIFT_FROM = ("Subset_2", "Subset_3", "Subset_4", "Subset_5")
SHIFT_TO = ("Subset_1",)
#: Settings that change how a run runs but not what it is; they may differ between calls.
FREE = ("device", "keep", "checkpoint_every")


@dataclass(frozen=True)
class Plan:
    """What was asked for, with absolute paths."""

    data: Path
    out: Path
    labelled: tuple[int, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int | None = None
    shift: bool = False
    encoder_weights: str | None = None
    threads: int | None = None
    overrides: tuple[str, ...] = ()
    variant: str | None = None
    teacher_from_supervised: bool = True
    base: Path | None = None
    validation: str | None = None

    @property
    def protocol(self) -> str:
        """`few-label` or `shift`, and the recipe it starts from: also the marker of its table."""
        name = "shift" if self.shift else "few-label"
        return f"{name}-{self.base.stem}" if self.base else name

    @property
    def archive(self) -> Path:
        """The unlabelled images, made once."""
        return self.out / "archive"


@dataclass(frozen=True)
class Run:
    """One training. `folder` holds all of it; `needs` are the runs whose models teach in it."""

    labelled: int
    method: str
    seed: int
    folder: Path
    needs: tuple[Run, ...] = ()

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.labelled} labels, {self.folder.parent.name}, seed {self.seed}"

    @property
    def training(self) -> Path:
        """The run folder of `organoseg train`."""
        return self.folder / "training"

    @property
    def model(self) -> Path:
        """The model to use: the student's running average."""
        return self.training / "model"

    @property
    def trained(self) -> bool:
        """Training is over and both models are there."""
        models = (self.training / part / "model.yaml" for part in ("model", "student"))
        return (self.training / "result.json").is_file() and all(m.is_file() for m in models)

    def figures(self, key: str) -> Path:
        """Its figures on the test set `key`."""
        return self.folder / f"figures-{key}.json"

    def predictions(self, key: str) -> Path:
        """What its model finds on the test set `key`."""
        return self.folder / f"predictions-{key}.json"


def plan_runs(plan: Plan) -> list[Run]:
    """Every training, each after those it needs; the supervised ones first."""
    supervised: dict[tuple[int, int], Run] = {}
    others = []
    for seed in plan.seeds:
        for n in plan.labelled:
            if "supervised" in plan.methods:
                supervised[seed, n] = _run(plan, n, "supervised", seed)
            for method in plan.methods:
                if method == "supervised":
                    continue
                lends = plan.teacher_from_supervised or method in TAUGHT
                seeds = _teaching_seeds(plan, seed)[: TEACHERS[method]] if lends else ()
                for s in seeds:
                    supervised.setdefault((s, n), _run(plan, n, "supervised", s))
                needs = tuple(supervised[s, n] for s in seeds)
                others.append(_run(plan, n, method, seed, needs))
    return [*supervised.values(), *others]


def _run(plan: Plan, n: int, method: str, seed: int, needs: tuple[Run, ...] = ()) -> Run:
    name = method if method == "supervised" else plan.variant or method
    base = plan.out / "runs" / plan.protocol / f"labelled_{n}"
    return Run(n, method, seed, base / name / f"seed-{seed}", needs)


def _teaching_seeds(plan: Plan, seed: int) -> tuple[int, int]:
    """The seeds whose supervised models teach in a run: its own, and the next one of the plan."""
    place = plan.seeds.index(seed) + 1
    return seed, plan.seeds[place % len(plan.seeds)] if len(plan.seeds) > 1 else seed + 1


def labelled_names(plan: Plan, labelled: int) -> list[str]:
    """File names of the labelled images; in a shift, without those of the test's subset."""
    names = few_label_split(plan.data / SPLITS, f"labelled_{labelled}")
    if plan.shift:
        names = [name for name in names if any(word in name for word in SHIFT_FROM)]
    if not names:
        raise DataError(
            f"no labelled image is left of labelled_{labelled}", where=plan.data / SPLITS
        )
    return names


def base_tree(path: Path | None, method: str) -> dict[str, Any]:
    """The model and training of a recipe file, and of its method what both methods share or guided runs need.

    UsageError when the file is no recipe.
    """
    if path is None:
        return {"training": {}, "method": {"name": method}}
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(given, dict):
        raise UsageError("a recipe is a mapping of sections", where=path)
    tree = {name: dict(given.get(name) or {}) for name in ("model", "training")}
    known = dict(given.get("method") or {})
    tree["method"] = known if known.get("name") == method else {"name": method}
    return tree


def recipe_tree(plan: Plan, run: Run) -> dict[str, Any]:
    """A run's recipe as plain data. Without --validation there is none: no image is looked at while it trains."""
    source = {
        "annotations": str(plan.data / "instances_val.json"),
        "images": str(plan.data / "val"),
    }
    labelled: dict[str, Any] = dict(source)
    names = labelled_names(plan, run.labelled)
    if names != few_label_split(plan.data / SPLITS, f"labelled_{run.labelled}"):
        labelled["names"] = names
    else:
        labelled["split"] = f"{plan.data / SPLITS}#labelled_{run.labelled}"
    tree = {"seed": run.seed, "data": {"labelled": labelled}, **base_tree(plan.base, run.method)}
    if plan.validation is not None:
        split = f"{plan.data / SPLITS}#{plan.validation}"
        tree["data"]["validation"] = {**source, "split": split}
    if run.method != "supervised":
        tree["data"]["unlabelled"] = str(plan.archive)
        if plan.shift:
            tree["data"]["prefer"] = list(SHIFT_TO)
        models = [str(teacher.model) for teacher in run.needs]
        if len(models) == 1:
            tree["method"]["teacher"] = models[0]
        elif models:
            tree["method"]["teachers"] = models
    if plan.steps is not None:
        tree["training"]["steps"] = plan.steps
    if plan.threads is not None:
        tree["training"]["threads"] = plan.threads
    if plan.encoder_weights is not None:
        tree.setdefault("model", {})["encoder_weights"] = plan.encoder_weights
    return tree


def recipe_of(plan: Plan, run: Run) -> Recipe:
    """A run's recipe, checked. `method.…` overrides are for runs with an archive only.

    UsageError for an unknown key or an impossible value.
    """
    chosen = [
        o for o in plan.overrides if run.method != "supervised" or not o.startswith("method.")
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{run.method}.yaml"
        path.write_text(yaml.safe_dump(recipe_tree(plan, run)), encoding="utf-8")
        return load_recipe(path, chosen)


def check_same(run: Run, asked: Recipe) -> None:
    """Refuse to call a training by the name of another one. UsageError names what differs."""
    known = run.training / "recipe.yaml"
    if not known.is_file():
        return
    try:
        old = load_recipe(known)
    except UsageError as error:
        raise UsageError(
            f"the run was trained by another version, whose recipe this one cannot read: {error.what}",
            where=run.folder,
            remedy="Give another --out, or remove the folder.",
        ) from error
    differing = _differences(_settings(old, run.trained), _settings(asked, run.trained))
    if differing:
        raise UsageError(
            f"the run was trained with other settings: {'; '.join(differing[:5])}",
            where=run.folder,
            remedy="Give another --out (or --variant, but for supervised), or remove the folder.",
        )


def _settings(recipe: Recipe, finished: bool) -> dict[str, Any]:
    flat = dict(_flat(recipe.model_dump(mode="json")))
    for name in FREE:
        flat.pop(f"training.{name}", None)
    if finished:
        # Nothing will be computed again, and a results folder may have been moved.
        flat.pop("training.threads")
        for name in ("data.unlabelled", "method.teacher", "method.teachers"):
            flat[name] = flat.get(name) is not None
    return flat


def _flat(tree: Any, place: str = "") -> list[tuple[str, Any]]:
    if not isinstance(tree, dict):
        return [(place, tree)]
    return [pair for k, v in tree.items() for pair in _flat(v, f"{place}.{k}".lstrip("."))]


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    keys = sorted(old.keys() | new.keys())
    return [f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in keys if old.get(k) != new.get(k)]


def measured(run: Run, key: str) -> dict[str, Any] | None:
    """A run's figures if they are there, whole, and of the model that lies there now."""
    path = run.figures(key)
    if not run.trained or not path.is_file() or not run.predictions(key).is_file():
        return None
    figures: dict[str, Any] = read_json(path)
    description = yaml.safe_load((run.model / "model.yaml").read_text(encoding="utf-8"))
    return figures if figures["weights_sha256"] == description["weights_sha256"] else None
