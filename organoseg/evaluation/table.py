"""The table that `organoseg evaluate` shows."""

import math
from collections.abc import Mapping

from organoseg.evaluation.bootstrap import Interval
from organoseg.evaluation.coco import CocoFigures
from organoseg.evaluation.evaluation import Evaluation, OperatingPoint


def render(result: Evaluation) -> str:
    """An evaluation as lines of text."""
    coco, best = result.coco, result.best
    intervals = result.intervals
    free, covered = intervals.get("recall_isolated"), intervals.get("recall_overlapping")
    lines = [
        f"{result.images} images, {result.organoids} labelled organoids "
        f"({result.overlapping} overlapping), {result.predictions} predictions",
        "",
        *_ap_lines(result),
        _line("AP     small  (under 32² px)", coco.ap_small, None),
        _line("AP     medium (32² to 96² px)", coco.ap_medium, None),
        _line("AP     large  (over 96² px)", coco.ap_large, None),
        _line("AR     mean recall over IoU .5 to .95", coco.ar, None),
        _line("recall isolated organoids", result.recall_isolated, free),
        _line("recall overlapping organoids", result.recall_overlapping, covered),
        "",
        f"At score {best.threshold:.3f}, where F1 is highest, IoU .5:",
        *_point_lines(best, result),
    ]
    if result.given is not None:
        lines += ["", f"At score {result.given.threshold:.3f}, as asked, IoU .5:"]
        lines += _point_lines(result.given, None)
    if intervals:
        lines += ["", f"[low, high]: 95 % over {result.bootstrap} resamplings of the images"]
    return "\n".join(lines)


def _ap_lines(result: Evaluation) -> list[str]:
    """AP as the file reads and, where that differs, as it should; the intervals are the latter's."""
    if result.ids_from_1 is None:
        return _three_lines(result.coco, "", result.intervals)
    return [
        *_three_lines(result.coco, "", {}),
        *_three_lines(result.ids_from_1, ", annotation ids from 1", result.intervals),
    ]


def _three_lines(coco: CocoFigures, note: str, intervals: Mapping[str, Interval]) -> list[str]:
    first = f"AP{note}" if note else "AP     mean over IoU .5 to .95"
    return [
        _line(first, coco.ap, intervals.get("AP")),
        _line(f"AP50{note}", coco.ap50, intervals.get("AP50")),
        _line(f"AP75{note}", coco.ap75, intervals.get("AP75")),
    ]


def _point_lines(point: OperatingPoint, result: Evaluation | None) -> list[str]:
    intervals = {} if result is None else result.intervals
    return [
        _line("F1", point.f1, intervals.get("F1")),
        _line("precision", point.precision, intervals.get("precision")),
        _line("recall", point.recall, intervals.get("recall")),
        _line("recall isolated organoids", point.recall_isolated, None),
        _line("recall overlapping organoids", point.recall_overlapping, None),
        _line("mSA", point.msa, intervals.get("mSA")),
        _line("count error, organoids an image", point.count_error, intervals.get("count_error")),
        _line("count bias (+: too many)", point.count_bias, intervals.get("count_bias")),
    ]


def _line(label: str, value: float, interval: Interval | None) -> str:
    text = f"  {label:<38}{_number(value):>7}"
    if interval is None or math.isnan(interval.low):
        return text
    return f"{text}  [{_number(interval.low)}, {_number(interval.high)}]"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
