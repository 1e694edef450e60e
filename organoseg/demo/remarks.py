"""What a reader of the demo should know besides its figures, in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from organoseg.demo.log import RunLog
from organoseg.demo.plan import DemoPlan
from organoseg.demo.teachers import Teacher
from organoseg.demo.work import Outcome
from organoseg.evaluation import Evaluation
from organoseg.report.words import percent

#: A share that changes by less is not worth a sentence.
SMALL = 0.01


def remarks(plan: DemoPlan, plain: Outcome, guided: Outcome, gain: float) -> tuple[str, ...]:
    """Sentences for the report; where guidance did not win, also where it lost.

    gain: AP of `guided` minus AP of `plain`.
    """
    found = [
        f"{plan.validation} more images with outlines drew the learning curve, chose the score "
        "from which outlines are shown, and judged the switch of teachers. Nothing was trained on "
        "them."
    ]
    if not gain > 0:
        found.append(_loss(plain.evaluation, guided.evaluation, gain))
    found += [_proposals(guided.teachers), _switch(guided.log)]
    return tuple(sentence for sentence in found if sentence)


def _loss(plain: Evaluation, guided: Evaluation, gain: float) -> str:
    """Where the loss lies."""
    changes = {
        "of its outlines fewer are right": guided.best.precision - plain.best.precision,
        "it finds fewer of the organoids that lie free": guided.recall_isolated
        - plain.recall_isolated,
        "it finds fewer of those that lie over others": guided.recall_overlapping
        - plain.recall_overlapping,
    }
    lost = [f"{what} ({change:+.3f})" for what, change in changes.items() if change < -SMALL]
    if lost:
        return f"Guided training did not win: {', and '.join(lost)}."
    if not gain < 0:
        return "Guided training did not win: both methods came out alike."
    return (
        "Guided training did not win, though it finds as many organoids and invents no more: its "
        "outlines are less exact, or its scores rank them less well."
    )


def _proposals(teachers: Sequence[Teacher]) -> str:
    """What the student was told about the unlabelled images, and how much of it was true."""
    if not teachers:
        return ""
    return (
        "The outlines of the unlabelled images are known here, though no training saw them: "
        f"{'; '.join(map(_one, teachers))}. What a teacher proposes wrongly, the student may learn."
    )


def _one(teacher: Teacher) -> str:
    names = {"burn_in": "the first teacher", "mutual": "the second teacher"}
    name = names.get(teacher.stage, teacher.stage)
    if math.isnan(teacher.precision):
        return f"{name} proposed nothing"
    return (
        f"of what {name} proposed {percent(teacher.precision)} was right, and it found "
        f"{percent(teacher.recall)} of the organoids ({percent(teacher.recall_overlapping)} of "
        "those that lie over others)"
    )


def _switch(log: RunLog) -> str:
    if log.switched is not None:
        return (
            f"By step {log.switched} of the guided training the running average of the program in "
            "training had become the teacher, as the method has it."
        )
    if log.notes:
        return (
            "In the guided training the first teacher stayed to the end: the program in training "
            "was behind it whenever the switch was due."
        )
    return ""
