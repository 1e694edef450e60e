"""From a recipe to the parts of the method: schedule, rules, labeller, views, learning rate."""

from __future__ import annotations

import math

from organoseg.distill.iteration import Rules
from organoseg.distill.labeller import Labeller, LabelsBatches, QueryLabeller
from organoseg.distill.pseudo_labels import OrganoidFilter, PaperFilter, PseudoLabelFilter
from organoseg.distill.schedule import Schedule
from organoseg.distill.views import (
    PAPER_STRONG,
    STRONG,
    WEAK,
    AsItIs,
    Geometry,
    Light,
    SsdJitter,
)
from organoseg.distill.weights import decay_of_half_life
from organoseg.training.methods import FromArchive, Guided
from organoseg.training.recipe import Recipe


def schedule_of(recipe: Recipe) -> Schedule:
    """Steps of each stage."""
    steps, method = recipe.training.steps, recipe.method
    if not isinstance(method, Guided):
        return Schedule.guided(steps)
    teacher = 0 if method.teacher else method.teacher_steps or steps
    burn_in, refine = round(steps * method.burn_in), round(steps * method.refine)
    return Schedule.guided(teacher, burn_in, steps - burn_in - refine, refine)


def rules_of(recipe: Recipe) -> Rules:
    """Numbers of the iteration."""
    t, method = recipe.training, recipe.method
    alone = decay_of_half_life(t.half_life)
    if not isinstance(method, Guided):
        return Rules(0.0, alone, t.clip, alone)
    decay = method.decay if method.half_life is None else decay_of_half_life(method.half_life)
    distils = method.burn_in_from == "pseudo_labels"
    return Rules(method.unlabelled_weight, decay, t.clip, alone, distils)


def filter_of(method: FromArchive, sharpness: float | None) -> PseudoLabelFilter:
    """The recipe's filter, with a calibrated sharpness where there is one."""
    if method.filter == "paper":
        return PaperFilter(method.accept)
    return OrganoidFilter(
        sharpness or method.sharpness,
        method.accept,
        method.ignore,
        method.power,
        method.nms,
        method.background,
    )


def labeller_of(recipe: Recipe, sharpness: float | None) -> LabelsBatches:
    """The teacher's way of labelling a batch."""
    method = recipe.method
    if not isinstance(method, FromArchive):
        return Labeller(PaperFilter())
    plain = Labeller(filter_of(method, sharpness), (1.0,) * method.views)
    if method.filter == "paper" and method.views == 1:
        return QueryLabeller(method.accept, plain)
    return plain


def geometry_of(recipe: Recipe) -> Geometry:
    """Crops of the recipe."""
    a = recipe.training.augmentation
    return Geometry(a.crop, a.scale, jitter=a.geometry == "jitter")


def weak_of(recipe: Recipe) -> Light:
    """Photometric change of labelled crops and of the teacher's view."""
    kinds: dict[str, Light] = {"mild": WEAK, "ssd": SsdJitter(), "none": AsItIs()}
    return kinds[recipe.training.augmentation.light]


def strong_of(method: FromArchive) -> Light:
    """What the student's view is changed by beyond the weak one."""
    return (PAPER_STRONG if method.strong == "paper" else STRONG).scaled(method.strength)


#: Where the multi-step schedule divides the rate by ten: the paper's COCO recipe, 327 778 and 355 092 of 368 750 steps.
MILESTONES = (327_778 / 368_750, 355_092 / 368_750)


def rate(position: int, length: int, warmup: int, schedule: str = "cosine") -> float:
    """Factor of the learning rate: linear warm-up, then a cosine or a power of .9 to zero, or steps of a tenth."""
    if schedule == "cosine":
        if position < warmup:
            return (position + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (position - warmup) / max(length - warmup, 1)))
    rising = min((position + 1) / warmup, 1.0) if warmup else 1.0
    done = position / max(length, 1)
    if schedule == "poly":
        return float(rising * (1 - done) ** 0.9)
    return float(rising * 0.1 ** sum(done >= milestone for milestone in MILESTONES))
