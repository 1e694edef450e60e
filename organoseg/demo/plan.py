"""How large the demo is, and the recipes of its two trainings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from organoseg.dataset.synthetic import SyntheticSpec

if TYPE_CHECKING:
    from organoseg.training.recipe import Recipe

METHODS = ("supervised", "guided")


@dataclass(frozen=True)
class DemoPlan:
    """Numbers of images, training settings and seed.

    The settings follow from the time there is (minutes, on two cores, from a random encoder) and
    are the same for both methods; what is the guided method's own is its preset. ``labelled``
    images train; ``validation`` images draw the learning curve, choose the score from which
    outlines are shown, and judge the switch of teachers.
    """

    labelled: int = 8
    unlabelled: int = 200
    validation: int = 10
    test: int = 30
    spec: SyntheticSpec = field(default_factory=SyntheticSpec)
    steps: int = 500
    batch: int = 4
    crop: int = 192
    learning_rate: float = 2e-3
    half_life: float = 30
    warmup: int = 30
    seed: int = 0
    threads: int | None = None
    encoder_weights: str | None = None


def quick_plan() -> DemoPlan:
    """A demo of seconds: it shows that everything works, and its figures mean nothing."""
    return DemoPlan(
        labelled=2,
        unlabelled=4,
        validation=2,
        test=3,
        spec=SyntheticSpec(size=96, count=(2, 4), radius=(8.0, 16.0), overlap=0.5),
        steps=20,
        batch=2,
        crop=64,
        warmup=2,
    )


def recipe_of(method: str, plan: DemoPlan, out: Path) -> Recipe:
    """The recipe of a method in the demo's folder; guided learns first from the supervised model."""
    from organoseg.training.recipe import parse_recipe

    data = out.resolve() / "data"
    tree: dict[str, Any] = {
        "seed": plan.seed,
        "data": {part: _labelled(data, part) for part in ("labelled", "validation")},
        "model": {"encoder_weights": plan.encoder_weights},
        "method": {"name": method},
        "training": {
            "steps": plan.steps,
            "batch": plan.batch,
            "learning_rate": plan.learning_rate,
            "half_life": plan.half_life,
            "warmup": plan.warmup,
            "augmentation": {"crop": plan.crop},
            "validate_every": max(plan.steps // 5, 1),
            "checkpoint_every": plan.steps,
            "keep": 1,
            "threads": plan.threads,
        },
    }
    if method == "guided":
        tree["data"]["unlabelled"] = str(data / "archive.zarr")
        teacher = out.resolve() / "supervised" / "model"
        tree["method"] |= {"preset": "organoid", "teacher": str(teacher)}
        tree["method"]["if_nothing"] = "go_on"  # a demo shows what came of it
        # As short an average as the other method's: the run is short.
        tree["method"]["half_life"] = plan.half_life
    return parse_recipe(tree, where=f"demo, {method}")


def _labelled(data: Path, part: str) -> dict[str, str]:
    return {"annotations": str(data / f"{part}.json"), "images": str(data / part)}
