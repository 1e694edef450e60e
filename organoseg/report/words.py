"""The sentences of the report: figures in plain words, and no more than they say."""

import math

from organoseg.evaluation import Evaluation, Interval
from organoseg.report.demo import DemoReport, Method


def verdict(data: DemoReport, gain: float, spread: Interval) -> str:
    """One sentence: did guidance help? Says so when it did not, or when it is not certain."""
    plain, guided = data.methods[0], data.methods[-1]
    figures = (
        f"AP (1 is perfect) {number(plain.evaluation.ap)} with {plain.label} training, "
        f"{number(guided.evaluation.ap)} with {guided.label} training"
    )
    if math.isnan(gain) or math.isnan(spread.low):
        return f"{figures}."
    change = f"a change of {gain:+.3f} (likely between {spread.low:+.3f} and {spread.high:+.3f})"
    if spread.low > 0:
        return f"The unlabelled images helped: {figures}, {change}."
    if spread.high < 0:
        return f"The unlabelled images did not help here, they hurt: {figures}, {change}."
    tendency = "a little better" if gain > 0 else "no better"
    return (
        f"Guided training came out {tendency}, but {len(data.test)} test images are too few to be "
        f"sure: {figures}, {change}."
    )


def counts(method: Method) -> str:
    """Found, missed and invented organoids in one sentence."""
    result = method.evaluation
    point = result.best
    return (
        f"{point.matched} of {result.organoids} organoids found, "
        f"{result.organoids - point.matched} missed, {point.predicted - point.matched} invented"
    )


def bias(result: Evaluation) -> str:
    """Whether counts are too high or too low, and by how much an image."""
    error, lean = result.best.count_error, result.best.count_bias
    direction = "too many" if lean > 0 else "too few"
    if abs(lean) < 0.05:
        return f"{error:.1f} off, evenly to both sides"
    return f"{error:.1f} off; on average {abs(lean):.1f} {direction}"


def overlap(data: DemoReport) -> str:
    """How organoids that lie over each other fared."""
    result = data.methods[-1].evaluation
    if result.overlapping == 0:
        return "No organoids of the test images lie over each other, so this was not tested."
    parts = [
        f"{method.label} training {percent(method.evaluation.best.recall_overlapping)}"
        for method in data.methods
    ]
    return (
        f"{result.overlapping} of the {result.organoids} test organoids have over a tenth of their "
        f"area covered by others. Found of these: {' and '.join(parts)}."
    )


def number(value: float) -> str:
    """A figure with three digits, or a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def percent(value: float) -> str:
    """A share as per cent, or a dash where there is none."""
    return "–" if math.isnan(value) else f"{100 * value:.0f} %"


def duration(seconds: float) -> str:
    """Minutes and seconds for people."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
