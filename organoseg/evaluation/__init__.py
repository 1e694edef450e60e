"""How good predictions are: AP and friends, counts, overlap, with intervals over images."""

from organoseg.evaluation.average_precision import average_precision
from organoseg.evaluation.bootstrap import Interval
from organoseg.evaluation.coco import CocoFigures
from organoseg.evaluation.compare import ap_difference
from organoseg.evaluation.evaluation import Evaluation, OperatingPoint
from organoseg.evaluation.report import evaluate

__all__ = [
    "CocoFigures",
    "Evaluation",
    "Interval",
    "OperatingPoint",
    "ap_difference",
    "average_precision",
    "evaluate",
]
