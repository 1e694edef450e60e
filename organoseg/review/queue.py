"""Which images and organoids a person should look at first, and which were drawn at random to stay honest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances, UsageError
from organoseg.review.coverage import content_look, covering_order

Order = Literal["ranked", "doubtful", "random"]
ORDERS: tuple[Order, ...] = get_args(Order)
Values = NDArray[np.float64]

# An image with few organoids is drawn towards the mean of all by as much as this many organoids would.
_PRIOR = 2.0
# A robust z-score of this size makes an organoid as odd as can be.
_ODD = 4.0
# To open an image and to see that nothing is missed takes as long as so many organoids.
OPENING = 3.0
# Below this a cause is not worth telling the reviewer.
_TOLD = 0.3


@dataclass(frozen=True, eq=False)
class Found:
    """What a model found in one image, and what a second one (the teacher, or the student) found there.

    look: what the image's greys are like (`coverage.grey_look`), of all images or of none.
    """

    key: str
    instances: Instances
    second: Instances | None = None
    look: tuple[float, ...] = ()


@dataclass(frozen=True)
class Weights:
    """How much each cause can raise the chance that an organoid needs correction, 0 to 1."""

    disagreement: float = 0.8
    quality: float = 0.8
    size: float = 0.4


@dataclass(frozen=True)
class Turn:
    """One image's place in the queue.

    organoids: its ids, the one to look at first in front; priorities: one each, 0 to 1; reasons: words for the reviewer
    by id; random: the image was drawn at random, so what is found in it tells how good the model is everywhere.
    """

    image: str
    priority: float
    random: bool
    organoids: tuple[int, ...]
    priorities: tuple[float, ...]
    reasons: dict[int, str]


def make_queue(
    found: Sequence[Found],
    order: Order = "ranked",
    random_share: float = 0.2,
    seed: int = 0,
    weights: Weights = Weights(),
) -> list[Turn]:
    """All images in the order of review.

    "ranked": every beginning of the queue stands for as much of the doubt in all images as so many organoids can
    (`coverage.covering_order`): what is learnt from it helps most. "doubtful": first what most needs a person, by the
    mean priority of an image's organoids: finds faults fastest, but is no good sample to learn from. In both, every
    1 / ``random_share``-th turn is drawn at random from *all* images, so that the random ones met so far are a fair
    sample at any moment.
    "random": a random order; every turn is a fair sample. The same for one seed.

    UsageError for another order, or a share outside 0 to 1.
    """
    if order not in ORDERS:
        raise UsageError(f"There is no order {order!r}", remedy=f"Use {' or '.join(ORDERS)}.")
    if not 0 <= random_share <= 1:
        raise UsageError(f"The random share {random_share} is not between 0 and 1")
    turns = _turns(found, weights)
    shuffled = np.random.default_rng((seed, 0x5EED)).permutation(len(turns)).tolist()
    if order == "random":
        return [_drawn(turns[i]) for i in shuffled]
    drawn = shuffled[: int(np.ceil(random_share * len(turns)))]
    chosen = set(drawn)
    preferred = _covering(found, turns) if order == "ranked" else _doubtful(turns)
    ranked = [i for i in preferred if i not in chosen]
    queue: list[Turn] = []
    owed = 0.0
    while drawn or ranked:
        owed += random_share
        if drawn and (owed >= 1 - 1e-9 or not ranked):
            queue.append(_drawn(turns[drawn.pop(0)]))
            owed -= 1
        elif ranked:
            queue.append(turns[ranked.pop(0)])
    return queue


def _doubtful(turns: Sequence[Turn]) -> list[int]:
    # sorted() is stable: equal priorities stay in the order of the files.
    return sorted(range(len(turns)), key=lambda i: -turns[i].priority)


def _covering(found: Sequence[Found], turns: Sequence[Turn]) -> list[int]:
    looks = [(*content_look(item.instances), *item.look) for item in found]
    # What an image counts for is the doubt in it, organoid by organoid; what it costs are the organoids to look at.
    expected = np.array([len(i.instances) + _missed(i) + OPENING for i in found], np.float64)
    doubt = expected * [turn.priority for turn in turns]
    return covering_order(looks, doubt if doubt.any() else expected, expected)


def _drawn(turn: Turn) -> Turn:
    return Turn(turn.image, turn.priority, True, turn.organoids, turn.priorities, turn.reasons)


def _turns(found: Sequence[Found], weights: Weights) -> list[Turn]:
    causes = [_causes(item) for item in found]
    sizes = _oddness([item.instances.areas for item in found])
    combined = [
        1
        - (1 - weights.disagreement * c[0]) * (1 - weights.quality * c[1]) * (1 - weights.size * s)
        for c, s in zip(causes, sizes, strict=True)
    ]
    missed = [_missed(item) for item in found]
    everything = np.concatenate([np.zeros(0), *combined])
    usual = float(everything.mean()) if everything.size else 0.5
    turns = []
    for item, cause, odd, priority, lacking in zip(
        found, causes, sizes, combined, missed, strict=True
    ):
        total = priority.sum() + weights.disagreement * lacking + _PRIOR * usual
        mean = float(total / (len(priority) + lacking + _PRIOR))
        by_priority = np.argsort(-priority, kind="stable")
        ids = item.instances.ids[by_priority].tolist()
        words = {
            int(number): text
            for number, d, q, s in zip(item.instances.ids, cause[0], cause[1], odd, strict=True)
            if (text := _words(float(d), float(q), float(s)))
        }
        values = tuple(round(float(p), 4) for p in priority[by_priority])
        turns.append(Turn(item.key, round(mean, 4), False, tuple(ids), values, words))
    return turns


def _causes(item: Found) -> tuple[Values, Values]:
    """Disagreement (1 - best IoU with the second model) and want of quality (1 - score), each (N,) in 0 to 1."""
    quality = 1 - np.clip(item.instances.scores.astype(np.float64), 0, 1)
    if item.second is None:
        return np.zeros(len(item.instances)), quality
    return 1 - _best(item.instances, item.second), quality


def _best(ours: Instances, theirs: Instances) -> Values:
    """Best IoU of each of ours with any of theirs; 0 where there is none."""
    table = ours.iou(theirs)
    best: Values = table.max(axis=1, initial=0.0)
    return best


def _missed(item: Found) -> float:
    """Organoids that only the second model saw."""
    if item.second is None:
        return 0.0
    return float(np.maximum(0.0, 1 - 2 * _best(item.second, item.instances)).sum())


def _oddness(areas: Sequence[NDArray[np.int64]]) -> list[Values]:
    """How unusual each organoid's size is in the whole project, 0 to 1: robust z-score of the log area, squared."""
    logs = [np.log(np.maximum(a, 1).astype(np.float64)) for a in areas]
    everything = np.concatenate([np.zeros(0), *logs])
    if everything.size < 5:
        return [np.zeros(len(a)) for a in areas]
    middle = np.median(everything)
    spread = max(1.4826 * float(np.median(np.abs(everything - middle))), 0.05)
    return [np.minimum(np.abs(a - middle) / (_ODD * spread), 1.0) ** 2 for a in logs]


def _words(disagreement: float, quality: float, size: float) -> str:
    told = [
        (disagreement, f"the two models differ (overlap {1 - disagreement:.0%})"),
        (quality, f"the model is unsure (score {1 - quality:.2f})"),
        (size, "its size is unusual"),
    ]
    return ", ".join(text for value, text in sorted(told, reverse=True) if value >= _TOLD)
