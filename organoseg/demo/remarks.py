"""What a reader of the demo should know besides its figures, in plain words."""

from __future__ import annotations

from organoseg.demo.log import RunLog
from organoseg.demo.plan import DemoPlan
from organoseg.evaluation import Evaluation

#: Differences below these are not worth a sentence: shares, and means a crop.
SMALL = 0.01
ALIKE = 0.25


def remarks(
    plan: DemoPlan, plain: Evaluation, guided: Evaluation, gain: float, log: RunLog
) -> tuple[str, ...]:
    """Sentences for the report; where guidance did not win, also what the log knows of why."""
    found = [
        f"{plan.validation} more images with outlines drew the learning curve, chose the score "
        "from which outlines are shown, and judged the switch of teachers. Nothing was trained on "
        "them."
    ]
    if not gain > 0:
        found.append(_why(plain, guided))
        found += _pseudo_labels(log)
    found.append(_switch(log))
    return tuple(sentence for sentence in found if sentence)


def _why(plain: Evaluation, guided: Evaluation) -> str:
    """Where the loss lies, at each one's best score."""
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
    return (
        "Guided training did not win, though it finds as many organoids and invents no more: its "
        "outlines are less exact, or its scores rank them less well."
    )


def _pseudo_labels(log: RunLog) -> list[str]:
    """What the teacher told the student about the unlabelled images."""
    seen = log.pseudo
    if not seen:
        return []
    kept, drawn = seen["kept"], seen["labelled_density"]
    if kept < (1 - ALIKE) * drawn:
        amount = "It overlooked organoids, and the student learnt to overlook them"
    elif kept > (1 + ALIKE) * drawn:
        amount = "It took other things for organoids, and the student learnt to do so"
    else:
        amount = "The number is right, so what it taught wrongly are outlines or which objects"
    sizes = (
        f" Their sizes differ from the drawn ones (distance {seen['area_shift']:.2f} of 1)."
        if seen["area_shift"] > ALIKE
        else ""
    )
    return [
        f"The log of the guided run: on the unlabelled images the teacher gave {kept:.1f} outlines "
        f"a crop, where {drawn:.1f} are drawn in the labelled ones, with a mean score of "
        f"{seen['score']:.2f}; {seen['ignored']:.1f} more were too unsure and left open. {amount}."
        f"{sizes}"
    ]


def _switch(log: RunLog) -> str:
    if log.switched is not None:
        return (
            f"From step {log.switched} of the guided training on, the teacher was the average of "
            "the program in training, as the method has it."
        )
    if log.notes:
        return (
            "In the guided training the first teacher stayed to the end: the program in training "
            "was behind it whenever the switch was due."
        )
    return ""
